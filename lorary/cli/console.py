"""Print tables, bars and colours by rich, with every text escaped."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TextIO, cast

from rich import progress
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lorary.cli.screen import GuardedStream
from lorary.files import escape, shorten

# Columns enough for any row.
PIPE_WIDTH = 100_000
# Longer cells take a terminal minutes to fold; JSON has them whole.
MAX_CELL = 10_000


class GuardedConsole(Console):
    """A console of rich's that escapes texts, and takes none for markup.

    Args:
        stderr: whether to write to stderr instead of stdout.
        soft_wrap: whether to leave the folding of long lines to the terminal.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False):
        stream = sys.stderr if stderr else sys.stdout
        target = stream.stream if isinstance(stream, GuardedStream) else stream
        super().__init__(
            file=cast(TextIO, GuardedStream(None)) if target is None else target,
            soft_wrap=soft_wrap,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render anything; rich calls this for everything that it shows, and for the parts of it."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else escape(text, keep="\n"), style, control)

    def on_broken_pipe(self) -> None:
        """Let the caller know, instead of ending the process."""
        raise BrokenPipeError


def open_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Give the console of a stream: texts are escaped, and none is taken for markup."""
    return GuardedConsole(stderr=stderr, soft_wrap=soft_wrap)


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


def print_next(*words: str) -> None:
    """Print, dimly, the command that is likely to be useful next."""
    shown = escape(shlex.join(words), keep="")
    open_console(soft_wrap=True).print(Text(f"next: {shown}", style="dim"))


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
