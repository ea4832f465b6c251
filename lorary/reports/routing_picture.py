"""A self-contained page that shows the experts used by each token."""

import os
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from lorary.errors import suggest
from lorary.evaluation.request_scores import RequestScores
from lorary.evaluation.result import Result
from lorary.files import quote, write_whole
from lorary.reports import routing_html
from lorary.reports.page import make_footer, make_page, make_section, result_section
from lorary.reports.palette import BASE_COLOURS
from lorary.reports.routed_sample import RoutedSample, Usage
from lorary.reports.scale_bar import share_bar
from lorary.reports.scores_chart import NUM_SHOWN, scores_chart

# Of a layer's routing: smaller parts of a bar have no name in a long legend.
LEAST_SHOWN = 0.02


def write_routing_html(
    path: str | os.PathLike[str],
    samples: Sequence[RoutedSample],
    names: Sequence[str],
    *,
    usage_by_task: Usage | None = None,
    usage_by_layer: Usage | None = None,
    scores_by_task: Mapping[str, RequestScores] | None = None,
    result: Result | None = None,
    title: str = "Which experts the tokens used",
) -> None:
    """Write one self-contained HTML page, without scripts, fonts or network access.

    Args:
        path: the page's path.
        samples: prompts and answers, coloured by the expert with the greatest share.
        names: all experts, in the order of colours and columns.
        usage_by_task: task -> expert -> share, drawn as a heat map.
        usage_by_layer: layer -> expert -> share, from the first layer to the last, drawn as bars.
        scores_by_task: task -> the scores of a request router.
        result: a result to be shown first, with a table for each metric.
        title: the page's heading.

    Raises:
        ValueError: if an expert is not among ``names``, or a share is negative or not finite.
    """
    check_routing(names, samples, {"task": usage_by_task or {}, "layer": usage_by_layer or {}})
    check_scores(names, scores_by_task or {})
    sections = [
        result_section(result),
        draw_legend(samples, names, usage_by_layer, scores_by_task),
        samples_section(samples, names),
        scores_section(scores_by_task, names),
        tasks_section(usage_by_task, names),
        layers_section(usage_by_layer, names),
    ]
    body = "".join(sections) + make_footer(result)
    write_whole(path, make_page(title, body, names).encode())


def check_routing(names: Sequence[str], samples: Sequence[RoutedSample], usages: Mapping[str, Usage]) -> None:
    """Check that routing can be drawn.

    Args:
        names: all experts.
        samples: the samples.
        usages: kind of rows, such as ``"task"`` -> row -> expert -> share.

    Raises:
        ValueError: if an expert is not among ``names``, or a share is negative or not finite.
    """
    _check_names(names)
    for sample in samples:
        for token in (*sample.prompt, *sample.answer):
            _check_shares(token.experts, names, f"a sample of task {quote(sample.task)}")
    for kind, usage in usages.items():
        for row, shares in usage.items():
            _check_shares(shares.items(), names, f"{kind} {quote(row)}")


def check_scores(names: Sequence[str], scores_by_task: Mapping[str, RequestScores]) -> None:
    """Check that scores can be drawn.

    Raises:
        ValueError: if an expert is not among the names, or a score is not finite.
    """
    for task, found in scores_by_task.items():
        for name, score in found.scores.items():
            _check_name(name, names, f"task {quote(task)}")
            if not isfinite(score):
                raise ValueError(
                    f"task {quote(task)}: the score of expert {quote(name)} must be finite, found {score!r}"
                )


def draw_legend(
    samples: Sequence[RoutedSample],
    names: Sequence[str],
    usage_by_layer: Usage | None,
    scores_by_task: Mapping[str, RequestScores] | None,
) -> str:
    """Draw the legend of the experts' colours, for the place before the first part that has them."""
    coloured = _list_coloured(samples, usage_by_layer or {}, scores_by_task or {})
    if not coloured:
        return ""
    # A short list is shown completely, including experts that no part has.
    is_short = len(names) <= len(BASE_COLOURS)
    places = {name: place for place, name in enumerate(names) if is_short or name in coloured}
    lead = "The colours of the experts on this page. Choose one to see only its tokens and bars."
    return make_section("Experts", lead, routing_html.legend(places))


def samples_section(samples: Sequence[RoutedSample], names: Sequence[str]) -> str:
    """Draw samples token by token."""
    if not samples:
        return ""
    places = {name: index for index, name in enumerate(names)}
    cards = "".join(routing_html.sample_card(sample, places) for sample in samples)
    lead = (
        "Each token has the colour of the expert with the greatest share of its routing, averaged over "
        "layers; the stronger the colour, the greater the share. Point at a token for the shares."
    )
    return make_section("Token by token", lead, f'<div class="samples">{cards}</div>')


def scores_section(scores_by_task: Mapping[str, RequestScores] | None, names: Sequence[str]) -> str:
    """Draw the scores of the first experts of each task."""
    if not scores_by_task:
        return ""
    lead = (
        "This router chooses once for each request, and all layers use the same experts. For each task: the "
        "experts with the best scores, as means over its requests, and the margin: the best score of a "
        "request minus its fourth best (or its last, with fewer experts). With a small margin no expert "
        "stands out. A task's own expert is bold."
    )
    return make_section("Scores of the first experts", lead, scores_chart(scores_by_task, names))


def _list_coloured(
    samples: Sequence[RoutedSample], usage_by_layer: Usage, scores_by_task: Mapping[str, RequestScores]
) -> set[str]:
    tokens = [token for sample in samples for token in (*sample.prompt, *sample.answer)]
    shares = [pair for usage in usage_by_layer.values() for pair in usage.items()]
    return {
        *(routing_html.leading_expert(token) for token in tokens if token.experts),
        *(name for name, share in shares if share >= LEAST_SHOWN),
        *(name for found in scores_by_task.values() for name in list(found.scores)[:NUM_SHOWN]),
    }


def tasks_section(usage: Usage | None, names: Sequence[str]) -> str:
    """Draw a heat map, with tasks as rows and experts as columns."""
    if not usage:
        return ""
    lead = "Percent of the routing that each expert (column) had on each task (row); a task's own is framed."
    return make_section("Experts by task", lead, share_bar() + routing_html.heat_map(usage, names))


def layers_section(usage: Usage | None, names: Sequence[str]) -> str:
    """Draw a bar for each layer, divided by the experts' shares."""
    if not usage:
        return ""
    lead = "Share of each expert in the routing of each layer, from the first layer to the last."
    return make_section("Experts by layer", lead, routing_html.layer_chart(usage, names))


def _check_names(names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ValueError(f"names must differ from each other, found more than once: {quote(repeated)}")


def _check_name(name: str, names: Sequence[str], where: str) -> None:
    if name not in names:
        raise ValueError(f"{where} uses an expert {quote(name)} that is not in names: {suggest(name, names)}")


def _check_shares(shares: Iterable[tuple[str, float]], names: Sequence[str], where: str) -> None:
    for name, share in shares:
        _check_name(name, names, where)
        if not isfinite(share) or share < 0:
            raise ValueError(
                f"{where}: the share of expert {quote(name)} must be finite and not negative, found {share!r}"
            )
