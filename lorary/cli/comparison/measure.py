"""Measure the routes of a comparison."""

from collections.abc import Callable

from lorary.cli.comparison.prepare import Comparison
from lorary.cli.evaluation_bar import show_evaluation
from lorary.cli.left_out import tell_prompts
from lorary.cli.printing import print_line
from lorary.data.prompt_counts import PromptCounts
from lorary.evaluation import Result, evaluate
from lorary.evaluation.precision import find_batch_note
from lorary.evaluation.predictions import Prediction
from lorary.evaluation.response_store import ResponseStore
from lorary.files import say_count


def measure_routes(
    found: Comparison,
    store: ResponseStore | None = None,
    on_prediction: Callable[[Prediction], None] | None = None,
) -> Result:
    """Evaluate every route on every task; then print on stderr which examples were left out or changed.

    Args:
        found: the comparison.
        store: see ``evaluate``.
        on_prediction: see ``evaluate``.
    """
    what = f"comparing {say_count(len(found.routes), 'route')} on {say_count(len(found.tasks), 'task')}"
    with show_evaluation(what) as show:
        result = evaluate(
            found.model,
            found.tasks,
            found.routes,
            found.template,
            found.config,
            store=store,
            on_progress=show,
            on_prediction=on_prediction,
        )
    (header,) = result.headers
    counts = [PromptCounts(**given) for given in header["settings"]["prompts"].values()]
    tell_prompts(counts, "measured examples")
    note = find_batch_note(result.headers)
    if note is not None:
        print_line(f"note: {note}", stderr=True)
    return result
