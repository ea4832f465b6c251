"""The tables of an evaluation, on the screen and in files."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lorary.cli.grids import print_grid
from lorary.cli.printing import print_line
from lorary.evaluation import Difference, Result, choose_reference, compare_routes
from lorary.evaluation.precision import say_precision
from lorary.evaluation.route_text import describe_routes
from lorary.evaluation.route_uses import name_uses
from lorary.files import write_whole
from lorary.reports import category_grid, difference_grid, render_markdown, result_grid


def print_result(result: Result, against: str | None = None) -> None:
    """Print a table per metric, and a table of each route's difference from the reference route."""
    for metric in result.metrics:
        print_grid(result_grid(result, metric))
        differences = compare_with_reference(result, metric, against)
        if differences:
            print_grid(difference_grid(differences, uses=name_uses))
        by_category = category_grid(result, metric)
        if by_category is not None:
            print_grid(by_category)
    precision = say_precision(result.headers)
    if precision is not None:
        print_line(precision)
    if meanings := describe_routes(result.routes):
        print_line(meanings)


def compare_with_reference(result: Result, metric: str, against: str | None = None) -> list[Difference]:
    """Compare every route with a reference route.

    Args:
        result: the results.
        metric: name of the metric.
        against: the reference route; None means that of ``choose_reference``.
    """
    return compare_routes(result, metric, against or choose_reference(result, metric))


def write_result(result: Result, out: Path, against: str | None = None) -> None:
    """Write all results as JSON, and the tables as Markdown."""
    result.to_json(out / "results.json")
    write_whole(out / "table.md", "\n".join(_markdown_parts(result, against)).encode())


def summarize_result(result: Result, against: str | None = None) -> dict[str, Any]:
    """Describe means, standard errors and differences in JSON values.

    Returns:
        Metric -> its title, task -> route -> mean, route -> mean over tasks, differences from the reference.
    """
    return {metric: _summarize_metric(result, metric, against) for metric in result.metrics}


def _summarize_metric(result: Result, metric: str, against: str | None) -> dict[str, Any]:
    columns = [(task, route) for task, route, name in result.scores if name == metric]
    return {
        "title": result.metric_of[metric].title,
        "lower_is_better": result.metric_of[metric].lower_is_better,
        "tasks": {
            task: {
                route: {
                    "mean": result.mean(task, route, metric),
                    "standard_error": result.standard_error(task, route, metric),
                    "examples": len(result.values(task, route, metric)),
                }
                for route in result.routes
                if (task, route) in columns
            }
            for task in dict.fromkeys(task for task, _ in columns)
        },
        "mean": {
            route: result.overall(route, metric)._asdict() for route in dict.fromkeys(r for _, r in columns)
        },
        "differences": [
            {**asdict(difference), "metric": metric}
            for difference in compare_with_reference(result, metric, against)
        ],
    }


def _markdown_parts(result: Result, against: str | None) -> Iterator[str]:
    for metric in result.metrics:
        yield render_markdown(result_grid(result, metric, 3))
        differences = compare_with_reference(result, metric, against)
        if differences:
            yield render_markdown(difference_grid(differences, uses=name_uses))
        by_category = category_grid(result, metric, 3)
        if by_category is not None:
            yield render_markdown(by_category)
    precision = say_precision(result.headers)
    if precision is not None:
        yield f"{precision[0].upper()}{precision[1:]}.\n"
