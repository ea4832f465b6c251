"""The scores with which a router chose experts for requests, as a piece of HTML."""

from collections.abc import Mapping, Sequence

from lorary.evaluation.request_scores import RequestScores
from lorary.files import escape_html

NUM_SHOWN = 4


def scores_chart(scores_by_task: Mapping[str, RequestScores], names: Sequence[str]) -> str:
    """Draw for each task the scores of the experts that come first, as bars, and the margin.

    Args:
        scores_by_task: task -> its scores, the best first.
        names: all experts, in the order of colours.
    """
    shown = [list(found.scores.items())[:NUM_SHOWN] for found in scores_by_task.values()]
    highest = max((score for scores in shown for _, score in scores), default=0.0)
    places = {name: place for place, name in enumerate(names)}
    cards = "".join(
        _task_card(task, found, scores, places, highest)
        for (task, found), scores in zip(scores_by_task.items(), shown, strict=True)
    )
    return f'<div class="scores">{cards}</div>'


def _task_card(
    task: str,
    found: RequestScores,
    scores: Sequence[tuple[str, float]],
    places: Mapping[str, int],
    highest: float,
) -> str:
    rows = "".join(
        f'<dt title="{escape_html(name)}">{_draw_name(name, is_own=name == task)}</dt>'
        f'<dd class="x{places[name]}"><i style="width:{_width(score, highest):.1f}%"></i></dd>'
        f"<dd>{score:z.2f}</dd>"
        for name, score in scores
    )
    return (
        f'<article class="card"><h3>{escape_html(task)} '
        f'<span class="dim">margin {found.margin:z.2f}</span></h3>'
        f"<dl>{rows}</dl></article>"
    )


def _draw_name(name: str, *, is_own: bool) -> str:
    return f'<b class="own">{escape_html(name)}</b>' if is_own else escape_html(name)


def _width(score: float, highest: float) -> float:
    return 100 * max(score, 0.0) / highest if highest > 0 else 0.0
