"""The results of a benchmark, as tables for people and JSON for programs."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.timing import Spread
from lorary.evaluation.run_header import describe_run

Cell = str | int | float | Spread | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """One comparison."""

    title: str
    """What was measured, with the sizes."""
    rows: Sequence[Mapping[str, Cell]]
    """Column -> value; every row has the same columns."""
    note: str = ""
    """A note on what to compare it with."""
    data: Mapping[str, Any] | None = None
    """Raw values for the JSON, not printed."""


def print_table(table: Table, console: Console) -> None:
    """Print a table; a spread is shown as its value with the lowest and highest behind it."""
    printed = RichTable(box=None, pad_edge=False, header_style="bold")
    for column in table.rows[0]:
        is_text = all(isinstance(row[column], str) for row in table.rows)
        printed.add_column(column, justify="left" if is_text else "right")
    for row in table.rows:
        printed.add_row(*(Text(format_cell(value)) for value in row.values()))
    console.print()
    # Not the table's own title, which would be folded to its width.
    console.print(Text(table.title, style="bold underline"))
    console.print(printed)
    if table.note:
        console.print(Text(table.note, style="dim"))


def format_cell(value: Cell) -> str:
    """Format one value: three significant digits, thousands separated."""
    if value is None:
        return "–"
    if isinstance(value, Spread):
        return f"{_format_number(value.value)} ({_format_number(value.low)}–{_format_number(value.high)})"
    return value if isinstance(value, str) else _format_number(value)


def _format_number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    # Cosines near 1 need all their digits.
    return f"{value:.7f}" if 0.999 < value < 1 else f"{value:.3g}"


def describe_bench(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe this run: command, date, versions, hardware, threads and settings."""
    header = describe_run(seeds={}, settings=settings)
    return {**header, "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]])}


def write_report(path: Path, header: Mapping[str, Any], tables: Mapping[str, Sequence[Table]]) -> None:
    """Write all results so far as one JSON file.

    Args:
        path: the file; replaced.
        header: see ``describe_bench``.
        tables: name of the benchmark -> its tables.
    """
    found = {name: [asdict(table) for table in several] for name, several in tables.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**header, "benches": found}, indent=2, ensure_ascii=False) + "\n")
