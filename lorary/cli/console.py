"""Tables, progress bars and colours through rich, with every text escaped."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TextIO, cast

from rich import progress
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lorary.cli.screen import GuardedStream
from lorary.files import escape

_BLANKS = re.compile(r" +$", re.MULTILINE)
# Wide enough that no row is wrapped.
PIPE_WIDTH = 100_000
# rich needs minutes to wrap longer cells; --json prints them whole.
MAX_CELL = 10_000


class StrippedStream:
    """A text stream that removes the spaces with which rich fills lines of tables.

    Args:
        stream: the target; each write must hold whole lines, as those of ``Console.print`` do.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text."""
        self._stream.write(_BLANKS.sub("", text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class GuardedConsole(Console):
    """A rich console that escapes texts and interprets no markup.

    Args:
        stderr: whether to write to stderr instead of stdout.
        soft_wrap: whether the terminal wraps long lines, not rich.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False):
        stream = sys.stderr if stderr else sys.stdout
        target = stream.stream if isinstance(stream, GuardedStream) else stream
        if target is None:
            target = cast(TextIO, GuardedStream(None))
        super().__init__(
            file=target if target.isatty() else cast(TextIO, StrippedStream(target)),
            soft_wrap=soft_wrap,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render an object with escaped texts; rich calls this for every object and its parts."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else escape(text, keep="\n"), style, control)

    def on_broken_pipe(self) -> None:
        """Raise the error for the caller; rich's own method ends the process."""
        raise BrokenPipeError


def open_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """Open the console of stdout or stderr: texts are escaped, and markup is not interpreted."""
    return GuardedConsole(stderr=stderr, soft_wrap=soft_wrap)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[str] = ()) -> None:
    """Print a table: wrapped to the width of a terminal; one line per row into a pipe or file.

    Args:
        columns: headings.
        rows: one text per column each.
        numeric: headings of the columns to align to the right.
    """
    console = open_console()
    keep = "\n" if console.is_terminal else ""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Numbers stay whole; other columns are wrapped.
        table.add_column(
            Text(escape(column, keep="")),
            justify="right" if column in numeric else "left",
            no_wrap=column in numeric,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(escape(cell, keep, longest=MAX_CELL)) for cell in row))
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


def print_next(*words: str) -> None:
    """Print a suggestion for the next command, dimmed."""
    shown = escape(shlex.join(words), keep="")
    open_console(soft_wrap=True).print(Text(f"next: {shown}", style="dim"))


def show_status(text: str) -> AbstractContextManager[Live]:
    """Show a spinner and a text on stderr while in this context, on terminals only.

    Yields:
        The live display; its ``update`` takes another ``say_status``.
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
    """Make a spinner followed by a text."""
    return Spinner("dots", Text(escape(text, keep="")))


def open_bar(*columns: progress.ProgressColumn, is_transient: bool = False) -> progress.Progress:
    """Make a progress bar on stderr.

    Args:
        columns: columns after the description and the bar.
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
        # Other packages' output already goes through GuardedStream; rich would interpret its colours.
        redirect_stdout=False,
        redirect_stderr=False,
    )
