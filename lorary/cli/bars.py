"""Progress bars on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress

from lorary.cli.console import open_bar
from lorary.files import escape


@contextmanager
def show_count(what: str, *, is_transient: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields a function that takes the number of items done and the total.

    Args:
        what: the description before the bar.
        is_transient: whether the bar is shown on terminals only, and removed at the end.
    """
    with show_bar(what, is_transient) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def show_bar(what: str, is_transient: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; yields a function that takes the amount done, the total and a note to show.

    Args:
        what: the description before the bar.
        is_transient: whether the bar is shown on terminals only, and removed at the end.
    """
    bar = open_bar(
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
        is_transient=is_transient,
    )
    with bar:
        line = bar.add_task(escape(what, keep=""), total=None, note="")
        yield lambda done, total, note: bar.update(
            line, completed=done, total=total, note=escape(note, keep="")
        )
