"""The message after Ctrl-C, given by the part of a command that was stopped."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_if_stopped(text: str) -> Iterator[None]:
    """Within this context, Ctrl-C has a message, unless an inner part gave one.

    Args:
        text: what was kept, and what to do.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if interrupt.args:
            raise
        raise KeyboardInterrupt(text) from None
