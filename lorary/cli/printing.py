"""Print lines, tables and progress for people, JSON for programs; nothing in this room prints otherwise."""

import json
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich import progress
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lorary.cli.screen import GuardedConsole, GuardedStream, silence
from lorary.files import escape, escape_json, shorten

# Columns enough for any row.
PIPE_WIDTH = 100_000
# Longer cells take a terminal minutes to fold; JSON has them whole.
MAX_CELL = 10_000


def open_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Give the console of a stream: texts are escaped, and none is taken for markup."""
    return GuardedConsole(stderr=stderr, soft_wrap=soft_wrap)


def print_line(text: str, *, stderr: bool = False) -> None:
    """Print one line; what a terminal would act on, line breaks too, is escaped."""
    print(escape(text, keep=""), file=sys.stderr if stderr else sys.stdout)


def print_lines(text: str) -> None:
    """Print a text of several lines."""
    for line in text.splitlines():
        print_line(line)


def print_error(text: str) -> None:
    """Print lines on stderr, wherever that goes."""
    try:
        for line in text.splitlines():
            print_line(line, stderr=True)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def print_answer(text: str) -> None:
    """Print what a model wrote: escaped on a terminal, as it is into a pipe or a file."""
    stream = sys.stdout.stream if isinstance(sys.stdout, GuardedStream) else sys.stdout
    if stream is not None:
        print(escape(text) if stream.isatty() else text, file=stream)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()) -> None:
    """Print a table, folded where it is wider than the screen; into a pipe, each row on one line.

    Args:
        columns: their headings.
        rows: one text per column each.
        numeric: the columns to align to the right.
    """
    console = open_console()
    keep = "\n" if console.is_terminal else ""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column in numeric else "left"
        table.add_column(Text(escape(column, keep="")), justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(escape(shorten(cell, MAX_CELL), keep)) for cell in row))
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def print_facts(facts: Sequence[tuple[str, str]], *, stderr: bool = False) -> None:
    """Print what is known before some work, a label and a text per line."""
    for label, text in facts:
        print_line(f"{label:<10}{text}", stderr=stderr)


def print_json(value: Any) -> None:
    """Print a value as JSON, and nothing else."""
    print_lines(escape_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_next(*words: str) -> None:
    """Print, dimly, the command that is likely to be useful next."""
    shown = escape(shlex.join(words), keep="")
    open_console(soft_wrap=True).print(Text(f"next: {shown}", style="dim"))


def format_count(number: int | None) -> str:
    """Write a number with thousands apart; an unknown one as nothing."""
    return "" if number is None else f"{number:,}"


def say_count(number: int, noun: str) -> str:
    """Write how many there are of something: ``1 problem``, ``2 problems``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def show_status(text: str) -> AbstractContextManager[Live]:
    """Show on a terminal's stderr that something is being done, while in this context.

    Yields:
        What shows it; its ``update`` takes another ``say_status``.
    """
    return Live(
        say_status(text),
        console=open_console(stderr=True),
        transient=True,
        refresh_per_second=12.5,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def say_status(text: str) -> RenderableType:
    """Put a text behind something that turns."""
    return Spinner("dots", Text(escape(text, keep="")))


def open_bar(*columns: progress.ProgressColumn, is_transient: bool = False) -> progress.Progress:
    """Make the bar of some long work, on stderr.

    Args:
        columns: what stands behind its description and the bar itself.
        is_transient: whether it is shown on terminals only, and removed at the end.
    """
    console = open_console(stderr=True)
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=28),
        *columns,
        console=console,
        transient=is_transient,
        disable=is_transient and not console.is_terminal,
        # What others print meanwhile goes through the gate; rich would take up its colours.
        redirect_stdout=False,
        redirect_stderr=False,
    )
