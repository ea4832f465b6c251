"""What a place that holds examples gives, be it a file or a data set of a hub."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One row, before anybody looked at its fields."""

    place: str
    """Where it stands, as errors name it: 'line 12', 'instance 3'."""
    row: object
    """What stands there, as JSON reads it; a ``ValueError`` if it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file or a data set's split, opened."""

    name: str
    """What errors call it: its path or id."""
    records: Iterable[Record]
    """Its rows; can be run through once."""
    definition: str = ""
    """The definition of the task, where the source has one."""
    format: str | None = None
    """The format of its rows, where the source itself tells."""
