"""Print the tables of docs/results/benchmarks.md from results of ``lorary eval --harness … --out``.

    python examples/benchmark_tables.py runs/choice/results.json runs/generated/results.json \
        --routes base uniform expert:wudi arrow calibrated multi-task-all oracle

The score of each benchmark under each route; the paired differences to the base model; and the same on each
benchmark. A route may be missing in some results: its means are over the benchmarks that it has, and so are
those of the other routes in the same row.
"""

from benchmark_results import SCORE, Compared, compare_all, read_arguments, read_scores, say, say_uses
from rich.console import Console

from lorary.evaluation import Result
from lorary.evaluation.compare import Difference
from lorary.reports import difference_grid, render_markdown
from lorary.reports.tables import MISSING, Cell, Grid, Row, format_error


def main() -> None:
    """Read the results and print the tables."""
    args = read_arguments(__doc__)
    result = read_scores(args)
    compared = compare_all(result, args.against)
    grids = [arrange_scores(result), arrange_overall(compared), arrange_single(result, compared)]
    text = "\n".join(map(render_markdown, grids))
    Console(soft_wrap=True, highlight=False, markup=False).print(text)


def arrange_scores(result: Result) -> Grid:
    """Arrange the scores: a row for each benchmark, and a mean for each set that a route has."""
    routes = result.routes
    rows = [Row(label=say(task), cells=fill_scores(result, (task,))) for task in result.tasks]
    sets: dict[tuple[str, ...], str] = {}
    for route in routes:
        own = tuple(task for task in result.tasks if (task, route, SCORE) in result.scores)
        sets.setdefault(own, f"mean of the {len(own)} of {say(route)}")
    for tasks, label in sorted(sets.items(), key=lambda each: -len(each[0])):
        label = f"mean of {len(tasks)}" if tasks == result.tasks else label
        rows.append(Row(label=label, cells=fill_scores(result, tasks)))
    return Grid(
        title=result.metric_of[SCORE].title,
        columns=tuple(map(say, routes)),
        uses=tuple(map(say_uses, routes)),
        rows=tuple(rows),
        note="± is one standard error over documents.",
        marked="the best value of each row",
    )


def fill_scores(result: Result, tasks: tuple[str, ...]) -> tuple[Cell, ...]:
    """Fill a row: the mean over these benchmarks of each route that has all of them."""
    found = [
        result.overall(route, SCORE, tasks)
        if all((task, route, SCORE) in result.scores for task in tasks)
        else None
        for route in result.routes
    ]
    best = max(each.mean for each in found if each is not None)
    return tuple(
        Cell(text=MISSING)
        if each is None
        else Cell(
            text=f"{each.mean:.3f}", error=format_error(each.standard_error, 3), is_best=each.mean == best
        )
        for each in found
    )


def arrange_overall(compared: list[Compared]) -> Grid:
    """Arrange the differences over all benchmarks, as ``lorary eval`` does."""
    grid = difference_grid([each.overall for each in compared])
    most = max(each.overall.num_tasks for each in compared)
    rows = [
        Row(label=say(each.route) + ("" if number == most else f", {number} of {most}"), cells=row.cells)
        for each, row in zip(compared, grid.rows, strict=True)
        for number in [each.overall.num_tasks]
    ]
    columns = tuple(column.replace("tasks", "benchmarks") for column in grid.columns)
    against = say(compared[0].overall.against)
    return Grid(
        title=f"Minus {against}", columns=columns, rows=tuple(rows), note=grid.note, marked=grid.marked
    )


def arrange_single(result: Result, compared: list[Compared]) -> Grid:
    """Arrange the differences on each benchmark."""
    tasks = [task for task in result.tasks if any(task in each.by_task for each in compared)]
    rows = [
        Row(label=say(task), cells=tuple(say_difference(each.by_task.get(task)) for each in compared))
        for task in tasks
    ]
    number = sum(len(each.by_task) for each in compared)
    return Grid(
        title=f"Minus {say(compared[0].overall.against)}, on each benchmark",
        columns=tuple(say(each.route) for each in compared),
        rows=tuple(rows),
        note=f"Paired. In bold what remains at 5% after Holm's correction for these {number} comparisons; "
        "none ±x: no difference is shown, and one of x would be with a probability of 80% if it were the "
        "only comparison; without x all documents have the same difference.",
    )


def say_difference(difference: Difference | None) -> Cell:
    """Format a difference on one benchmark, and whether it is significant."""
    if difference is None:
        return Cell(text=MISSING)
    is_none = difference.finding == "none"
    limit = f"none {format_error(difference.detectable, 2)}".strip() if is_none else difference.finding or ""
    return Cell(text=f"{difference.mean:+.2f}", error=limit, is_best=not is_none)


if __name__ == "__main__":
    main()
