"""Collecting the faults of several options, which are reported together."""

from collections.abc import Callable
from typing import TypeVar

from lorary.errors import LoraryError

Read = TypeVar("Read")


class Faults:
    """The faults so far."""

    def __init__(self) -> None:
        self.errors: list[ValueError | LoraryError] = []

    def keep(self, read: Callable[[], Read]) -> Read | None:
        """Return what a function reads; None if it raises an error for users, which is kept as a fault."""
        try:
            return read()
        except (ValueError, LoraryError) as error:
            self.errors.append(error)
            return None

    def add(self, *messages: str) -> None:
        """Add faults by their messages."""
        self.errors.extend(map(ValueError, messages))

    def raise_all(self) -> None:
        """Raise the only fault unchanged, or one error with all of them; do nothing if there is none."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise ValueError("; ".join(dict.fromkeys(map(str, self.errors))))
