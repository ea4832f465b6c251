"""A source of rows: an opened file, a split of a hub's data set, or rows in memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One row, unchecked."""

    place: str
    """Its place, for messages: 'line 12', 'instance 3'."""
    row: object
    """Its value as read from JSON; a ``ValueError`` if it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened source of rows."""

    name: str
    """Its path or id, for messages."""
    records: Iterable[Record]
    """Its rows; they can be iterated once."""
    definition: str = ""
    """The task's definition, if the source has one."""
    format: str | None = None
    """The format of its rows, if the source determines it."""
    categories: tuple[str, ...] = ()
    """The task's categories, if the source has some."""
