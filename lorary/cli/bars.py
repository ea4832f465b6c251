"""Progress bars of long work, on stderr."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress

from lorary.cli.printing import open_bar
from lorary.files import escape

if TYPE_CHECKING:
    from lorary.evaluation import EvalProgress
    from lorary.experts import Expert
    from lorary.training.loop.event import TrainEvent


@contextmanager
def show_training(what: str) -> "Iterator[Callable[[TrainEvent[Expert]], None]]":
    """Show a bar of optimiser steps with tokens per second and the mean loss; yields its ``on_progress``.

    Args:
        what: what is being trained, in a few words.
    """
    begun = time.monotonic()

    def describe(event: "TrainEvent[Expert]") -> str:
        notes = []
        if event.num_tokens:
            notes.append(f"{event.num_tokens / (time.monotonic() - begun):.0f} tokens/s")
        if event.losses:
            notes.append(f"loss {sum(event.losses.values()) / len(event.losses):.2f}")
        return " · ".join(notes)

    with _show_bar(what) as update:
        yield lambda event: update(event.num_steps, event.total_steps, describe(event))


@contextmanager
def show_evaluation(what: str) -> "Iterator[Callable[[EvalProgress], None]]":
    """Show a bar of an evaluation's work, naming the route; yields its ``on_progress``.

    Args:
        what: what is being measured, in a few words.
    """
    with _show_bar(what) as update:
        yield lambda event: update(event.num_done, event.num_total, event.route)


@contextmanager
def show_count(what: str, *, is_transient: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of things done; yields a function of how many are done and how many there are.

    Args:
        what: what is being done, in a few words.
        is_transient: whether the bar is shown on terminals only, and removed at the end.
    """
    with _show_bar(what, is_transient) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def _show_bar(what: str, is_transient: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar; yields a function of how much is done, how much there is, and a note behind it."""
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
