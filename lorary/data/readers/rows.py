"""Reading a source's rows into examples; every bad row is reported or counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lorary.data.readers.columns import Columns, UnknownColumn, build_columns_format
from lorary.data.readers.content import refuse_media
from lorary.data.readers.fields import Fields
from lorary.data.readers.formats import FORMATS, detect_format, find_format, match_format
from lorary.data.readers.row_format import RowFormat
from lorary.data.source import Source
from lorary.data.task import Example
from lorary.errors import DataError
from lorary.files import quote, say_count

# Format name of rows that were read by a map of columns.
BY_COLUMNS = "columns"
# In files with more columns, fields are probably not columns, so unused ones are not recorded.
MOST_COLUMNS = 1000


@dataclass
class ReadRows:
    """The examples of a source, and counts of its rows."""

    examples: list[Example] = field(default_factory=list)
    """The examples, in the source's order."""
    num_skipped: int = 0
    """Number of bad rows that were left out."""
    num_rejected: int = 0
    """Number of answers that the rows mark as bad."""
    formats: Counter[str] = field(default_factory=Counter)
    """Format -> number of rows that were read by it."""
    columns: dict[str, bool] = field(default_factory=dict)
    """Column -> whether it was read in any row."""

    @property
    def unused(self) -> tuple[str, ...]:
        """Columns that were not read in any row, in the order of their first occurrence."""
        return tuple(name for name, is_used in self.columns.items() if not is_used)


def read_rows(
    source: Source, *, format: str | None = None, columns: Columns | None = None, skip_bad: bool = False
) -> ReadRows:
    """Read every row of a source, by the format that its fields show, or by a given one.

    Args:
        source: the source.
        format: a name in ``FORMATS`` for all rows; ``None``: chosen by each row's fields.
        columns: part of an example -> column or columns, instead of a format.
        skip_bad: count bad rows instead of raising an error.

    Raises:
        ValueError: if ``format`` is unknown, ``columns`` is invalid, or both are given.
        DataError: if a row cannot be used and ``skip_bad`` is False, or if no row can be used.
    """
    told = _choose_told(format or source.format, columns, is_format_given=format is not None)
    read, problem = ReadRows(), ""
    for place, content in source.records:
        try:
            _read_row(content, told or _choose_format(content, read.formats), read)
        except ValueError as error:
            read.num_skipped, problem = read.num_skipped + 1, problem or f"{place}: {error}"
            if not skip_bad:
                raise DataError(f"{quote(source.name)}, {problem}{_advise(error, read)}") from error
    if not read.examples:
        raise DataError(f"{quote(source.name)} must have at least one usable row: {_explain(read, problem)}")
    return read


def _advise(error: ValueError, read: ReadRows) -> str:
    """Return the advice to leave out bad rows, unless the map of columns has fitted no row so far."""
    is_map_wrong = isinstance(error, UnknownColumn) and not read.formats
    return "" if is_map_wrong else " (--skip-bad, in Python skip_bad=True, leaves such rows out)"


def _choose_told(
    format: str | None, columns: Columns | None, *, is_format_given: bool
) -> tuple[str, RowFormat] | None:
    if columns is not None:
        if is_format_given:
            raise ValueError("only one of format and columns may be given, found both: pass one of them")
        return BY_COLUMNS, build_columns_format(columns)
    return (format, find_format(format)) if format else None


def _choose_format(content: object, seen: Counter[str]) -> tuple[str, RowFormat]:
    """Choose a format by the row's fields, or the most frequent one so far, which reports the fault."""
    row = Fields(_check_row(content))
    name = match_format(row)
    if name is None:
        name = seen.most_common(1)[0][0] if seen else detect_format(row)
    return name, FORMATS[name]


def _read_row(content: object, chosen: tuple[str, RowFormat], read: ReadRows) -> None:
    name, kind = chosen
    row = Fields(_check_row(content))
    if name != BY_COLUMNS:
        refuse_media(row)
    examples = [kind.read(part) for part in kind.part(row)]
    read.num_rejected += kind.count_rejected(row)
    read.examples += examples
    read.formats[name] += 1
    for column in (*row, *row.unused_parts):
        if column in read.columns or len(read.columns) < MOST_COLUMNS:
            read.columns[column] = read.columns.get(column, False) or column in row.used


def _check_row(content: object) -> Mapping[str, object]:
    if isinstance(content, ValueError):
        raise content
    if not isinstance(content, Mapping):
        raise ValueError(f"a row must be a JSON object with fields, not {quote(content, 60)}")
    return content


def _explain(read: ReadRows, problem: str) -> str:
    if problem:
        return f"all {read.num_skipped} are bad, the first is {problem}"
    if read.num_rejected:
        return f"it has {say_count(read.num_rejected, 'answer')}, marked as bad"
    return "it has no rows"
