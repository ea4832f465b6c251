"""The progress bar of a training run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lorary.cli.bars import show_bar
from lorary.training.loop.event import TrainEvent


@contextmanager
def show_training(what: str) -> Iterator[Callable[[TrainEvent[Any]], None]]:
    """Show optimiser steps, tokens per second and the mean loss; yields a function for ``on_progress``.

    Args:
        what: the description before the bar.
    """
    begun = time.monotonic()

    def describe(event: TrainEvent[Any]) -> str:
        notes = []
        if event.num_tokens:
            notes.append(f"{event.num_tokens / (time.monotonic() - begun):.0f} tokens/s")
        if event.losses:
            notes.append(f"loss {sum(event.losses.values()) / len(event.losses):.2f}")
        return " · ".join(notes)

    with show_bar(what) as update:
        yield lambda event: update(event.num_steps, event.total_steps, describe(event))
