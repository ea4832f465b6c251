"""The final table: our numbers beside the published ones."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lorary.cli.protocols.protocol import Row
from lorary.cli.protocols.resolve import ReadyProtocol
from lorary.evaluation import Result
from lorary.evaluation.measures import Metric
from lorary.files import escape_markdown, quote

RESULTS = "results.json"
MEAN = "mean"
COLUMNS = ("method", "task", "ours", "±", "published", "difference")
NUMERIC = COLUMNS[2:]


class Cell(NamedTuple):
    """A number of ours and the published one."""

    row: str
    """The method."""
    task: str
    """The task, or the mean."""
    ours: float
    """Our number, in percent if it is a share."""
    error: float | None
    """Its standard error over examples."""
    published: float | None
    """The published number."""


def read_cells(ready: ReadyProtocol) -> list[Cell]:
    """Read the results of all rows.

    Raises:
        OSError: if a stage has left no results.
        ValueError: if the results lack a route of the table.
    """
    stages = {found.stage.name for found in ready.stages}
    return [cell for row in ready.protocol.table if row.stage in stages for cell in _read_row(ready, row)]


def _read_row(ready: ReadyProtocol, row: Row) -> Iterator[Cell]:
    result = Result.from_json(ready.out / row.stage / RESULTS)
    metric = row.metric or result.metrics[0]
    measured = [task for task in result.tasks if (task, row.route, metric) in result.scores]
    wanted = ready.list_tasks(row)
    tasks = measured if wanted is None else [task for task in wanted if task in measured]
    if not tasks:
        raise ValueError(
            f"stage {quote(row.stage)} has no results of route {quote(row.route)} and metric {quote(metric)}"
            f": it measured {', '.join(result.routes)}; correct the table of the protocol"
        )
    unit = _find_unit(result.metric_of[metric])
    overall = result.overall(row.route, metric, tasks)
    yield Cell(
        row.row, MEAN, unit * overall.mean, _scale(overall.standard_error, unit), row.published.get(MEAN)
    )
    for task in tasks:
        error = result.standard_error(task, row.route, metric)
        mean = unit * result.mean(task, row.route, metric)
        yield Cell(row.row, task, mean, _scale(error, unit), row.published.get(task))


def tabulate_cells(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """Write cells as texts, a text per column."""
    return [
        (
            cell.row,
            cell.task,
            f"{cell.ours:.1f}",
            "" if cell.error is None else f"{cell.error:.1f}",
            "–" if cell.published is None else f"{cell.published:.1f}",
            "–" if cell.published is None else f"{cell.ours - cell.published:+.1f}",
        )
        for cell in cells
    ]


def write_table(ready: ReadyProtocol, cells: Sequence[Cell]) -> str:
    """Write the table as Markdown."""
    protocol = ready.protocol
    paper = escape_markdown(protocol.paper)
    head = f"# {escape_markdown(protocol.title)}\n\nScale {ready.scale.name}; published: {paper}\n\n"
    rows = [COLUMNS, ("---", "---", *["---:"] * len(NUMERIC)), *tabulate_cells(cells)]
    body = "\n".join(
        "| " + " | ".join(row if number == 1 else map(escape_markdown, row)) + " |"
        for number, row in enumerate(rows)
    )
    return head + body + "\n"


def _find_unit(metric: Metric) -> float:
    """Shares are shown in percent, as papers do; losses as they are."""
    return 1.0 if metric.lower_is_better else 100.0


def _scale(error: float | None, unit: float) -> float | None:
    return None if error is None else unit * error
