"""Print tables and progress for people, and JSON for programs."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from rich import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")

# Columns enough for any row.
PIPE_WIDTH = 100_000


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()) -> None:
    """Print a table, folded where it is wider than the screen; into a pipe, each row on one line.

    Args:
        columns: their headings.
        rows: one text per column each.
        numeric: the columns to align to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        # Not plain strings, in which rich would take '[x]' for markup.
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_next(*words: str) -> None:
    """Print, dimly, the command that is likely to be useful next."""
    Console(soft_wrap=True).print(Text(f"next: {shlex.join(words)}", style="dim"))


def format_count(number: int | None) -> str:
    """Write a number with thousands apart; an unknown one as nothing."""
    return "" if number is None else f"{number:,}"


def say_count(number: int, noun: str) -> str:
    """Write how many there are of something: ``1 problem``, ``2 problems``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def track(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield items while a bar on a terminal's stderr shows how many are done and the time left."""
    console = Console(stderr=True)
    yield from progress.track(items, what, console=console, transient=True, disable=not console.is_terminal)
