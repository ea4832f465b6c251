"""A row's fields, found by names in any case, with a record of the fields that were read."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

MOST_PARTS = 20  # of one field


class Fields(Mapping[str, Any]):
    """A row as readers see it.

    A field without a value (``null``, or NaN in a table) counts as missing, because tables have all columns
    in all rows. A name is looked up exactly, or else in any case: ``prompt`` finds ``Prompt``.

    Args:
        row: the row; values are not copied.
    """

    def __init__(self, row: Mapping[Any, Any]):
        self._row = {str(name): value for name, value in row.items() if not _is_missing(value)}
        self._folded = {name.casefold(): name for name in reversed(self._row)}
        self.columns = {str(name).casefold() for name in row}
        """All names in lower case, including those without a value."""
        self.used: set[str] = set()
        """Names of the fields that were read, as spelt in the row."""
        self.unused_parts: list[str] = []
        """Parts of read fields that were not used, such as ``messages.weight``."""

    def __getitem__(self, name: str) -> Any:
        own = self._find(name)
        if own is None:
            raise KeyError(name)
        self.used.add(own)
        return self._row[own]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def note_unused(self, parts: Iterable[str]) -> None:
        """Record parts of a read field that no example contains."""
        self.unused_parts += islice(parts, MOST_PARTS)

    def _find(self, name: str) -> str | None:
        return name if name in self._row else self._folded.get(name.casefold())


def _is_missing(value: object) -> bool:
    # Only NaN differs from itself.
    return value is None or (isinstance(value, float) and value != value)
