"""The display of a result in a notebook."""

from typing import TYPE_CHECKING

from lorary.files import html_table

if TYPE_CHECKING:
    from lorary.evaluation.result import Result

MEAN = "mean"


def draw_result(result: "Result") -> str:
    """Draw a table of means for each metric, with standard errors; the best of a row is bold."""
    return "".join(_draw_metric(result, metric) for metric in result.metrics)


def _draw_metric(result: "Result", metric: str) -> str:
    shown = result.metric_of[metric]
    routes = [route for route in result.routes if any(key[1:] == (route, metric) for key in result.scores)]
    tasks = [task for task in result.tasks if any((task, route, metric) in result.scores for route in routes)]
    shared = [task for task in tasks if all((task, route, metric) in result.scores for route in routes)]
    rows, bold = [], set()
    for number, task in enumerate([*tasks, *([MEAN] if shared else [])]):
        means: dict[int, float] = {}
        texts = []
        for place, route in enumerate(routes):
            if number < len(tasks) and (task, route, metric) not in result.scores:
                texts.append("")
                continue
            if number < len(tasks):
                mean, error = result.mean(task, route, metric), result.standard_error(task, route, metric)
            else:
                mean, error = result.overall(route, metric, shared)[:2]
            means[place] = mean
            texts.append(f"{mean:.3f}" + ("" if error is None else f" ± {error:.3f}"))
        best = (min if shown.lower_is_better else max)(means.values())
        if len(means) > 1:
            bold |= {(number, place + 1) for place, mean in means.items() if mean == best}
        rows.append((task, *texts))
    direction = "lower" if shown.lower_is_better else "higher"
    return html_table(
        f"{shown.title} ({direction} is better)",
        rows,
        columns=("task", *routes),
        bold=bold,
        note="± is the standard error over examples; the best value of each row is bold.",
    )
