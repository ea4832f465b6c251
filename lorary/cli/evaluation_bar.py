"""The bar of an evaluation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lorary.cli.bars import show_bar
from lorary.evaluation import EvalProgress


@contextmanager
def show_evaluation(what: str) -> Iterator[Callable[[EvalProgress], None]]:
    """Show a bar of an evaluation's work, naming the route; yields its ``on_progress``.

    Args:
        what: what is being measured, in a few words.
    """
    with show_bar(what) as update:
        yield lambda event: update(event.num_done, event.num_total, event.route)
