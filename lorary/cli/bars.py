"""Progress bars on stderr."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

from rich import progress

from lorary.cli.console import open_bar, open_console, say_status, show_status
from lorary.cli.printing import print_line
from lorary.files import escape


@contextmanager
def show_count(
    what: str, *, is_transient: bool = False, is_lazy: bool = False
) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields a function that takes the number of items done and the total.

    Args:
        what: the description before the bar.
        is_transient: whether the bar is shown on terminals only, and removed at the end.
        is_lazy: whether the bar is shown from the first call on, for work that may have been done before.
    """
    with show_bar(what, is_transient, is_lazy) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def show_work(what: str | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show work that precedes an answer, such as calibrating experts; yields a function that reports it.

    The function takes the kind of work, the number of steps done, and the number of all steps. A terminal
    shows a spinner and the steps, which are removed at the end; pipes and files get a line for each kind of
    work.

    Args:
        what: what a terminal shows until work is reported; None for nothing.
    """
    console = open_console(stderr=True)
    told: set[str] = set()
    with show_status(what or "") if console.is_terminal else nullcontext() as status:

        def show(work: str, num_done: int, num_steps: int) -> None:
            if status is not None and status.is_started:
                steps = f" ({num_done:,} of {num_steps:,})" if num_steps else ""
                status.update(say_status(f"{work}{steps}"))
            elif work not in told:
                print_line(work, stderr=True)
            told.add(work)

        yield show


@contextmanager
def show_bar(
    what: str, is_transient: bool = False, is_lazy: bool = False
) -> Iterator[Callable[[int, int, str], None]]:
    """Show a progress bar; yields a function that takes the amount done, the total and a note to show.

    A total of 0 is one that is not known yet.

    Args:
        what: the description before the bar.
        is_transient: whether the bar is shown on terminals only, and removed at the end.
        is_lazy: whether the bar is shown from the first call on.
    """
    bar = open_bar(
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
        is_transient=is_transient,
    )
    line = bar.add_task(escape(what, keep=""), total=None, note="")
    with ExitStack() as shown:

        def update(done: int, total: int, note: str) -> None:
            nonlocal is_lazy
            if is_lazy:
                is_lazy = False
                shown.enter_context(bar)
            bar.update(line, completed=done, total=total or None, note=escape(note, keep=""))

        if not is_lazy:
            shown.enter_context(bar)
        yield update
