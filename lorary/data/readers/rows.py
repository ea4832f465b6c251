"""From a source's rows to examples, with every bad row named or counted."""

from collections.abc import Mapping
from typing import NamedTuple

from lorary.data.readers.formats import detect_format, find_format
from lorary.data.readers.row_format import Row
from lorary.data.source import Source
from lorary.data.task import Example
from lorary.errors import DataError
from lorary.files import quote


class ReadRows(NamedTuple):
    """The examples of a source, and how many rows gave none."""

    examples: list[Example]
    """In the source's order."""
    num_skipped: int
    """Bad rows passed over."""


def read_rows(source: Source, *, format: str | None = None, skip_bad: bool = False) -> ReadRows:
    """Read every row of a source by one format.

    Args:
        source: what to read.
        format: a name in ``FORMATS``; ``None`` chooses by the first row (with ``skip_bad``: that fits one).
        skip_bad: count rows that cannot be used instead of refusing the source.

    Raises:
        ValueError: if ``format`` is unknown.
        DataError: if a row cannot be used and ``skip_bad`` is false, or if no row can.
    """
    name = format or source.format
    chosen = find_format(name) if name else None
    examples: list[Example] = []
    num_skipped, problem = 0, ""
    for place, content in source.records:
        try:
            row = _check_row(content)
            chosen = chosen or detect_format(row)
            examples.append(chosen.read(row))
        except ValueError as error:
            num_skipped, problem = num_skipped + 1, problem or f"{place}: {error}"
            if not skip_bad:
                raise DataError(f"{quote(source.name)}, {problem} (skip_bad leaves such rows out)") from error
    if not examples:
        reason = f"all {num_skipped} are bad, the first is {problem}" if problem else "it has no rows"
        raise DataError(f"{quote(source.name)} must have at least one usable row: {reason}")
    return ReadRows(examples, num_skipped)


def _check_row(content: object) -> Row:
    if isinstance(content, ValueError):
        raise content
    if not isinstance(content, Mapping):
        raise ValueError(f"a row must be a JSON object with fields, not {quote(content, 60)}")
    return content
