"""The final table: our numbers beside the published ones."""

import math
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
    """A number of ours and the published number."""

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
    source: str | None
    """Its source; None without one."""


def read_cells(ready: ReadyProtocol) -> list[Cell]:
    """Read the results of all rows.

    Raises:
        OSError: if a stage has no results.
        ValueError: if the results lack a route of the table.
    """
    stages = {found.stage.name for found in ready.stages}
    return [cell for row in ready.protocol.table if row.stage in stages for cell in _read_row(ready, row)]


def _read_row(ready: ReadyProtocol, row: Row) -> Iterator[Cell]:
    result = Result.from_json(ready.out / row.stage / RESULTS)
    wanted = ready.list_tasks(row)
    found = {task: _find_metric(result, task, row) for task in (result.tasks if wanted is None else wanted)}
    metrics = {task: metric for task, metric in found.items() if metric is not None}
    if not metrics:
        what = quote(row.route) + (f" and metric {quote(row.metric)}" if row.metric else "")
        raise ValueError(
            f"stage {quote(row.stage)} has no results of route {what}: it has routes "
            f"{', '.join(result.routes)} and metrics {', '.join(result.metrics)}: correct the table of the "
            "protocol"
        )
    cells = [_read_cell(result, row, task, metric) for task, metric in metrics.items()]
    errors = [cell.error for cell in cells if cell.error is not None]
    error = math.hypot(*errors) / len(cells) if len(errors) == len(cells) else None
    mean = sum(cell.ours for cell in cells) / len(cells)
    yield _make_cell(row, MEAN, mean, error)
    yield from cells


def _find_metric(result: Result, task: str, row: Row) -> str | None:
    """Find the row's metric of a task, or the first that was measured: benchmarks have different ones."""
    measured = [metric for metric in result.metrics if (task, row.route, metric) in result.scores]
    if row.metric is not None:
        return row.metric if row.metric in measured else None
    return measured[0] if measured else None


def _read_cell(result: Result, row: Row, task: str, metric: str) -> Cell:
    unit = _find_unit(result.metric_of[metric])
    error = result.standard_error(task, row.route, metric)
    scaled = None if error is None else unit * error
    mean = unit * result.mean(task, row.route, metric)
    return _make_cell(row, task, mean, scaled)


def _make_cell(row: Row, task: str, ours: float, error: float | None) -> Cell:
    published = row.published.get(task)
    return Cell(row.row, task, ours, error, published, None if published is None else row.source or None)


def tabulate_cells(cells: Sequence[Cell], *, is_comparable: bool) -> list[tuple[str, ...]]:
    """Write cells as texts, a text per column.

    Args:
        cells: the cells.
        is_comparable: whether our numbers may be compared with published ones; differences
            are left out for a random base model.
    """
    return [
        (
            cell.row,
            cell.task,
            f"{cell.ours:.1f}",
            "" if cell.error is None else f"{cell.error:.1f}",
            "–" if cell.published is None else f"{cell.published:.1f}",
            f"{cell.ours - cell.published:+.1f}" if is_comparable and cell.published is not None else "–",
        )
        for cell in cells
    ]


def write_table(ready: ReadyProtocol, cells: Sequence[Cell]) -> str:
    """Write the table as Markdown."""
    protocol = ready.protocol
    paper = escape_markdown(protocol.paper)
    head = f"# {escape_markdown(protocol.title)}\n\nScale {ready.scale.name}; published: {paper}\n\n"
    texts = tabulate_cells(cells, is_comparable=ready.scale.model is None)
    rows = [(*map(escape_markdown, row[:2]), *row[2:]) for row in texts]
    lines = [COLUMNS, ("---", "---", *["---:"] * len(NUMERIC)), *rows]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return head + body + "\n" + "".join(f"\n{escape_markdown(line)}\n" for line in list_sources(cells))


def list_sources(cells: Sequence[Cell]) -> list[str]:
    """List the sources of the published numbers, a line for each source."""
    rows: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.source is not None:
            rows.setdefault(cell.source, {})[cell.row] = None
    return [f"Published for {', '.join(own)}: {source}" for source, own in rows.items()]


def _find_unit(metric: Metric) -> float:
    """Convert proportions to percent, as in papers; losses stay unchanged."""
    return 1.0 if metric.lower_is_better else 100.0
