"""Collecting the faults of several options, which are told all at once."""

from collections.abc import Callable
from typing import TypeVar

Read = TypeVar("Read")


class Faults(list[str]):
    """The faults so far."""

    def keep(self, read: Callable[[], Read]) -> Read | None:
        """Return what a function reads; None if it raises a ``ValueError``, which is kept as a fault."""
        try:
            return read()
        except ValueError as error:
            self.append(str(error))
            return None
