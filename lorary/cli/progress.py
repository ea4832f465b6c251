"""Progress bars of long work, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich import progress
from rich.console import Console

if TYPE_CHECKING:
    from lorary.evaluation import EvalProgress
    from lorary.training import TrainEvent


@contextmanager
def show_training(what: str) -> "Iterator[Callable[[TrainEvent], None]]":
    """Show a bar of optimiser steps with tokens per second and the mean loss; yields its ``on_progress``.

    Args:
        what: what is being trained, in a few words.
    """
    with _bar("{task.fields[note]}") as bar:
        line = bar.add_task(what, total=None, note="")

        def show(event: "TrainEvent") -> None:
            elapsed = bar.tasks[line].elapsed or 0.0
            notes = [f"{event.num_tokens / elapsed:.0f} tokens/s"] if event.num_tokens and elapsed else []
            if event.losses:
                notes.append(f"loss {sum(event.losses.values()) / len(event.losses):.2f}")
            bar.update(line, completed=event.num_steps, total=event.total_steps, note=" · ".join(notes))

        yield show


@contextmanager
def show_evaluation(what: str) -> "Iterator[Callable[[EvalProgress], None]]":
    """Show a bar of an evaluation's work, naming the route; yields its ``on_progress``.

    Args:
        what: what is being measured, in a few words.
    """
    with _bar("{task.fields[note]}") as bar:
        line = bar.add_task(what, total=None, note="")

        def show(event: "EvalProgress") -> None:
            bar.update(line, completed=event.num_done, total=event.num_total, note=event.route)

        yield show


def _bar(*notes: str) -> progress.Progress:
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=28),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(compact=True),
        *(progress.TextColumn(note, style="dim") for note in notes),
        console=Console(stderr=True),
    )
