"""Collecting the faults of several options, which are told all at once."""

from collections.abc import Callable
from typing import TypeVar

from jsonargparse import Namespace

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


def refuse_card_options(options: Namespace) -> None:
    """Refuse options for the cards of experts, where something else is trained.

    Raises:
        ValueError: with the options.
    """
    given = [f"--{name}" for name in ("tags", "notes") if options[name]]
    if given:
        raise ValueError(
            f"{' and '.join(given)} are for the cards of --method experts, found --method {options.method}: "
            "leave them out, and use `lorary library tag` afterwards"
        )
