"""The progress bar of an evaluation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lorary.cli.bars import show_bar
from lorary.evaluation.running import EvalEvent


@contextmanager
def show_evaluation(what: str) -> Iterator[Callable[[EvalEvent], None]]:
    """Show the progress of an evaluation and its current route; yields a function for ``on_progress``.

    Args:
        what: the description before the bar.
    """
    with show_bar(what) as update:
        yield lambda event: update(event.num_done, event.num_total, event.route)
