"""The tables of an evaluation, on the screen and in files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from lorary.evaluation import Difference, Result, paired_difference
from lorary.reports import difference_grid, render_markdown, render_table, result_grid

ARROW = "arrow"
AGAINST = ("uniform", "base", "oracle")


def print_result(result: Result, console: Console) -> None:
    """Print a table per metric, and how far Arrow lies from the routes it is usually held against."""
    for metric in result.metrics:
        console.print(render_table(result_grid(result, metric), console.width))
        differences = find_differences(result, metric)
        if differences:
            console.print(render_table(difference_grid(differences), console.width))


def find_differences(result: Result, metric: str) -> list[Difference]:
    """Hold Arrow against uniform, base and oracle, where those were measured."""
    routes = {route for _, route, name in result.scores if name == metric}
    if ARROW not in routes:
        return []
    return [paired_difference(result, metric, ARROW, against) for against in AGAINST if against in routes]


def write_result(result: Result, out: Path) -> None:
    """Write all numbers as JSON, and the tables as Markdown."""
    from lorary.files import write_whole

    result.to_json(out / "results.json")
    write_whole(out / "table.md", "\n".join(_markdown_parts(result)).encode())


def summarize_result(result: Result) -> dict[str, Any]:
    """Put means and standard errors into JSON values: metric -> task (and over tasks) -> route."""
    return {
        metric: {
            "tasks": {
                task: {
                    route: {
                        "mean": result.mean(task, route, metric),
                        "standard_error": result.standard_error(task, route, metric),
                        "examples": len(result.values(task, route, metric)),
                    }
                    for route in result.routes
                    if (task, route, metric) in result.scores
                }
                for task in result.tasks
                if any(key[0] == task and key[2] == metric for key in result.scores)
            },
            "mean": {route: result.overall(route, metric)._asdict() for route in result.routes},
        }
        for metric in result.metrics
    }


def _markdown_parts(result: Result) -> Iterator[str]:
    for metric in result.metrics:
        yield render_markdown(result_grid(result, metric, 3))
        differences = find_differences(result, metric)
        if differences:
            yield render_markdown(difference_grid(differences))
