"""A row's fields, found whatever case their names have, with a note of which were read."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

MOST_PARTS = 20  # of one field


class Fields(Mapping[str, Any]):
    """A row as readers see it.

    A field without a value (``null``, or NaN in a table) is not there: tables have all columns in all rows.
    A name is found as it is written, or else in any case: ``prompt`` finds ``Prompt``.

    Args:
        row: the row; values are not copied.
    """

    def __init__(self, row: Mapping[Any, Any]):
        self._row = {str(name): value for name, value in row.items() if not _is_missing(value)}
        self._folded = {name.casefold(): name for name in reversed(self._row)}
        self.columns = {str(name).casefold() for name in row}
        """All names in lower case, those without a value too."""
        self.used: set[str] = set()
        """Names, as the row has them, of the fields that were read."""
        self.unused_parts: list[str] = []
        """What was not read within fields that were, as ``messages.weight``."""

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
        """Note what a field that is read holds and no example does."""
        self.unused_parts += islice(parts, MOST_PARTS)

    def _find(self, name: str) -> str | None:
        return name if name in self._row else self._folded.get(name.casefold())


def _is_missing(value: object) -> bool:
    # NaN alone differs from itself.
    return value is None or (isinstance(value, float) and value != value)
