"""Print a Markdown table of routes that examples/routing.py and examples/clusters.py measured.

    python examples/routing_tables.py runs/library --suffix .plain .on-top --rival multi-task-all \
        --columns uses seen seen:minus bare unseen unseen:minus

A column is ``uses``, a set of tasks (the mean of its loss), or a set with a derived quantity: ``minus``, the
paired difference to the rival; ``tasks``, the numbers of tasks on which the route is better and worse than
the rival; ``share``, (base - route) / (base - oracle). ± is the standard error over examples; the standard
error over tasks is in brackets.
"""

import argparse
from functools import reduce
from pathlib import Path

from rich.console import Console

from lorary.evaluation import Result
from lorary.evaluation.compare import paired_difference
from lorary.evaluation.standard_errors import standard_error_of_mean
from lorary.files import escape_markdown
from lorary.reports.tables import format_error

NAMED = ("oracle", "own cluster")  # routes that use each request's task


def main() -> None:
    """Read the results and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--suffix", nargs="+", default=[""], help="of the files' names")
    parser.add_argument("--columns", nargs="+", default=["uses", "seen", "seen:minus"])
    parser.add_argument("--rival", default="multi-task-all")
    parser.add_argument("--routes", nargs="+", help="in their order; if not given, all")
    parser.add_argument("--metric", default="loss")
    args = parser.parse_args()
    sets = {column.split(":")[0]: None for column in args.columns if column != "uses"}
    results = {name: read(args.out, name, args.suffix) for name in sets}
    known = dict.fromkeys(route for result in results.values() for route in result.routes)
    lines = [["", *args.columns], ["---", *("---" if each == "uses" else "---:" for each in args.columns)]]
    for route in args.routes or known:
        cells = [fill(results, column, route, args.rival, args.metric) for column in args.columns]
        lines.append([escape_markdown(route), *cells])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def read(out: Path, name: str, suffixes: list[str]) -> Result:
    """Join the results of several calls on one set, on the examples that all of them have.

    Calls without the set are skipped.
    """
    files = [out / f"routing-{name}{suffix}.json" for suffix in suffixes]
    results = [Result.from_json(file) for file in files if file.exists()]
    return reduce(Result.merge, [keep_common(result, results) for result in results])


def keep_common(result: Result, others: list[Result]) -> Result:
    """Keep the examples that all results have."""
    kept, scores = {}, {}
    for key, ids in result.example_ids.items():
        common = set(ids).intersection(*(other.example_ids[key] for other in others))
        kept[key] = [place for place, each in enumerate(ids) if each in common]
    for (task, route, metric), values in result.scores.items():
        scores[task, route, metric] = tuple(values[place] for place in kept[task, metric])
    ids = {key: tuple(own[place] for place in kept[key]) for key, own in result.example_ids.items()}
    return Result(scores, result.headers, {}, result.metric_of, ids)


def fill(results: dict[str, Result], column: str, route: str, rival: str, metric: str) -> str:
    """Compute and format a cell."""
    if column == "uses":
        return find_uses(results, route)
    name, _, kind = column.partition(":")
    result = results[name]
    if route not in result.routes or (kind in ("minus", "tasks") and route == rival):
        return "–"
    if kind == "share":
        base = result.overall("base", metric).mean
        most = base - result.overall("oracle", metric).mean
        return f"{(base - result.overall(route, metric).mean) / most:.1%}"
    if kind == "":
        found = result.overall(route, metric)
        return f"{found.mean:.3f} {format_error(found.standard_error, 3)}"
    difference = paired_difference(result, metric, route, rival)
    if kind == "tasks":
        return f"{difference.num_better}/{difference.num_worse}"
    by_task = [result.mean(task, route, metric) - result.mean(task, rival, metric) for task in result.tasks]
    over_tasks = format_error(standard_error_of_mean(by_task), 3)
    return f"{difference.mean:+.3f} {format_error(difference.standard_error, 3)} ({over_tasks})"


def find_uses(results: dict[str, Result], route: str) -> str:
    """Describe what a route's router uses besides the request, according to the files' headers."""
    if route.endswith(NAMED):
        return "task names"
    for result in results.values():
        for header in result.headers:
            for described in header["settings"]["routes"]:
                if described["name"] == route:
                    return str(described["uses"])
    return ""


if __name__ == "__main__":
    main()
