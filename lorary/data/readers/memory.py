"""Rows in memory: a list of mappings, a data set of ``datasets``, or a table of ``pandas``."""

from collections.abc import Iterable, Mapping
from typing import Any

from lorary.data.source import Record, Source
from lorary.files import quote


def open_rows(rows: Iterable[Mapping[str, Any]] | Any) -> Source:
    """Make a source of rows in memory.

    Args:
        rows: an iterable of mappings, or an object with ``to_dict("records")``.

    Raises:
        TypeError: if it is neither.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        rows = rows.to_dict("records")
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        raise TypeError(f"a task must be a path, an id or rows, found {quote(rows, 60)}")
    records = (Record(f"row {number}", row) for number, row in enumerate(rows, start=1))
    return Source(name="rows", records=records)
