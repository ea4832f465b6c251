"""Tables of numbers: arranged as plain cells, and written as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lorary.evaluation.compare import Difference
from lorary.evaluation.measures import Metric
from lorary.evaluation.result import Result
from lorary.evaluation.route_uses import name_uses
from lorary.files import escape, escape_markdown, quote, say_count

MISSING = "·"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One formatted value."""

    text: str
    """The value."""
    error: str = ""
    """Its standard error with the sign ±; empty if unknown."""
    is_best: bool = False
    """Whether no other value of the row is better."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a table."""

    label: str
    """The line's label."""
    cells: tuple[Cell, ...]
    """One cell for each column."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table as plain data."""

    title: str
    """Description of the numbers."""
    columns: tuple[str, ...]
    """The heading of each column."""
    uses: tuple[str, ...] = ()
    """What the route of each column uses, a line below the headings; empty for no such line."""
    rows: tuple[Row, ...]
    """The lines."""
    footer: Row | None = None
    """A separate last line, such as the mean."""
    note: str = ""
    """Explanation below the table."""
    marked: str = ""
    """What is marked, such as ``the best value of each row``; each form of the table has its own mark."""


def result_grid(result: Result, metric: str, digits: int = 2) -> Grid:
    """Arrange one metric of a result: a row for each task, a column for each route, and the mean.

    The mean is over the tasks that all routes have, so that it is comparable.

    Raises:
        ValueError: if the result has no such metric.
    """
    routes = tuple(route for route in result.routes if any(k[1:] == (route, metric) for k in result.scores))
    if not routes:
        raise ValueError(f"this result has no metric {quote(metric)}, it has {quote(sorted(result.metrics))}")
    tasks = [task for task in result.tasks if any((task, route, metric) in result.scores for route in routes)]
    rows = tuple(_task_row(result, task, routes, metric, digits) for task in tasks)
    shown = result.metric_of[metric]
    direction = "lower" if shown.lower_is_better else "higher"
    return Grid(
        title=f"{shown.title} ({direction} is better)",
        columns=routes,
        uses=uses if any(uses := tuple(map(name_uses, routes))) else (),
        rows=rows,
        footer=_mean_row(result, tasks, routes, metric, digits),
        note="± is the standard error over examples.",
        marked="the best value of each row",
    )


def category_grid(result: Result, metric: str, digits: int = 2) -> Grid | None:
    """Arrange the means over the tasks of each category; None if the tasks have no categories.

    The categories of tasks are the result's attachment ``categories``. A task may be in several.
    """
    given = result.attachments.get("categories")
    routes = tuple(route for route in result.routes if any(k[1:] == (route, metric) for k in result.scores))
    members: dict[str, list[str]] = {}
    for task, own in given.items() if isinstance(given, Mapping) else ():
        if all((task, route, metric) in result.scores for route in routes) and isinstance(own, list | tuple):
            for category in map(str, own):
                members.setdefault(category, []).append(str(task))
    if not members or not routes:
        return None
    shown = result.metric_of[metric]
    rows = []
    for category, tasks in sorted(members.items()):
        means = [result.overall(route, metric, tasks) for route in routes]
        cells = _number_cells([(mean.mean, mean.standard_error) for mean in means], shown, digits)
        rows.append(Row(label=f"{category} ({say_count(len(tasks), 'task')})", cells=cells))
    return Grid(
        title=f"{shown.title}, by category",
        columns=routes,
        rows=tuple(rows),
        note="A mean over the tasks of a category; ± is its standard error over examples.",
        marked="the best value of each row",
    )


def difference_grid(
    differences: Sequence[Difference], digits: int = 3, uses: Callable[[str], str] | None = None
) -> Grid:
    """Arrange paired differences, one in each row.

    Args:
        differences: the differences, of one metric.
        digits: number of decimal places.
        uses: function that describes what a route uses, such as ``name_uses``, for a column; None for no
            column.

    Raises:
        ValueError: if there are none, or they have different metrics.
    """
    metrics = list(dict.fromkeys(difference.metric for difference in differences))
    if len(metrics) != 1:
        names = sorted(metric.name for metric in metrics)
        raise ValueError(f"a table of differences needs exactly one metric, found {quote(names)}")
    direction = "below" if metrics[0].lower_is_better else "above"
    return Grid(
        title=f"{metrics[0].title}: paired differences ({direction} zero is better)",
        columns=(
            "difference",
            "95% interval",
            "tasks better / worse / same",
            "examples",
            "shown",
            *([] if uses is None else ["uses"]),
        ),
        rows=tuple(_difference_row(difference, digits, uses) for difference in differences),
        note="± is the paired standard error; the interval is a paired bootstrap over examples within tasks. "
        "Shown: what remains at 5% after Holm's correction for the comparisons of this table; none ±x: no "
        "difference is shown, and one of x would be with a probability of 80%.",
        marked="a difference whose whole interval is on the better side of zero",
    )


def render_markdown(grid: Grid) -> str:
    """Return a grid as a Markdown table with its title, ending in a line break."""
    rows = [*grid.rows, *([grid.footer] if grid.footer is not None else [])]
    lines = [
        f"**{escape_markdown(grid.title)}**",
        "",
        "| | " + " | ".join(escape_markdown(column) for column in grid.columns) + " |",
        "|---|" + "---:|" * len(grid.columns),
    ]
    if grid.uses:
        lines.append("| uses | " + " | ".join(escape_markdown(uses) for uses in grid.uses) + " |")
    for row in rows:
        cells = " | ".join(_markdown_cell(cell) for cell in row.cells)
        lines.append(f"| {escape_markdown(row.label)} | {cells} |")
    note = describe_marks(grid, "In bold")
    return "\n".join([*lines, "", *([note, ""] if note else [])])


def describe_marks(grid: Grid, mark: str) -> str:
    """Return a table's note, and a sentence on what is marked in it; ``mark`` says how."""
    return " ".join(filter(None, (grid.note, f"{mark}: {grid.marked}." if grid.marked else "")))


def plot_label(name: str, limit: int) -> str:
    """Shorten and escape a name for matplotlib, in which a dollar sign would start a formula."""
    return escape(name, keep="", longest=limit).replace("$", r"\$")


def format_error(error: float | None, digits: int) -> str:
    """Format a standard error as ``±.05`` (no leading zero); ``""`` if it is unknown."""
    if error is None:
        return ""
    return "±" + f"{error:.{digits}f}".removeprefix("0")


def _task_row(result: Result, task: str, routes: Sequence[str], metric: str, digits: int) -> Row:
    found = [
        (result.mean(task, route, metric), result.standard_error(task, route, metric))
        if (task, route, metric) in result.scores
        else None
        for route in routes
    ]
    return Row(label=task, cells=_number_cells(found, result.metric_of[metric], digits))


def _mean_row(
    result: Result, tasks: Sequence[str], routes: Sequence[str], metric: str, digits: int
) -> Row | None:
    shared = [task for task in tasks if all((task, route, metric) in result.scores for route in routes)]
    if not shared:
        return None
    means = [result.overall(route, metric, shared) for route in routes]
    kind = "task" if len(shared) == len(tasks) else "shared task"
    cells = _number_cells(
        [(mean.mean, mean.standard_error) for mean in means], result.metric_of[metric], digits
    )
    return Row(label=f"mean of {say_count(len(shared), kind)}", cells=cells)


def _number_cells(
    found: Sequence[tuple[float, float | None] | None], metric: Metric, digits: int
) -> tuple[Cell, ...]:
    means = [estimate[0] for estimate in found if estimate is not None]
    best = min(means) if metric.lower_is_better else max(means)
    # A single column has no best value.
    is_contest = len(means) > 1
    return tuple(
        Cell(text=MISSING)
        if estimate is None
        else Cell(
            text=f"{estimate[0]:.{digits}f}",
            error=format_error(estimate[1], digits),
            is_best=is_contest and estimate[0] == best,
        )
        for estimate in found
    )


def _difference_row(difference: Difference, digits: int, uses: Callable[[str], str] | None) -> Row:
    return Row(
        label=f"{difference.route} minus {difference.against}",
        cells=(
            Cell(
                text=f"{difference.mean:+.{digits}f}",
                error=format_error(difference.standard_error, digits),
                is_best=difference.is_clear_gain,
            ),
            Cell(text=_interval_text(difference, digits)),
            Cell(text=f"{difference.num_better}/{difference.num_worse}/{difference.num_same}"),
            Cell(text=str(difference.num_examples)),
            _finding_cell(difference, digits),
            *([] if uses is None else [Cell(text=uses(difference.route))]),
        ),
    )


def _finding_cell(difference: Difference, digits: int) -> Cell:
    """What is shown; beside "none", the smallest difference that would be."""
    if difference.finding is None:
        return Cell(text=MISSING)
    is_none = difference.finding == "none"
    return Cell(text=difference.finding, error=format_error(difference.detectable, digits) if is_none else "")


def _interval_text(difference: Difference, digits: int) -> str:
    if difference.low is None or difference.high is None:
        return MISSING
    return f"{difference.low:+.{digits}f} … {difference.high:+.{digits}f}"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.is_best else cell.text
    return f"{text} {cell.error}".rstrip()
