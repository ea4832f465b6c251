"""CSV and TSV files: a line of column names, then a row per record."""

import csv
from collections.abc import Iterator
from pathlib import Path

from lorary.data.readers.lines import read_raw_text
from lorary.data.source import Record
from lorary.errors import DataError
from lorary.files import LIMITS, escape, quote, say_count

SUFFIXES = {".csv", ".tsv"}
PACKED = {".gz", ".xz"}
TAB = "\t"
# Spreadsheets in countries with a decimal comma write semicolons.
SEPARATORS = (",", ";", TAB)


def is_table(path: Path) -> bool:
    """Return whether a file's name is that of a table; its content does not show it."""
    return find_suffix(path) in SUFFIXES


def find_suffix(path: Path) -> str:
    """Return a file's suffix in lower case, without the suffix of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return next((suffix for suffix in reversed(suffixes) if suffix not in PACKED), "")


def read_table(path: Path) -> Iterator[Record]:
    """Yield a table's rows as mappings of text by column; a cell without text has no value.

    Raises:
        DataError: if the file cannot be read, or its first line does not name columns.
    """
    most = LIMITS["row_mb"].num_bytes
    # The csv module's limit, 131 kB by default, applies to the whole process, so it is only ever raised.
    csv.field_size_limit(max(most, csv.field_size_limit()))
    lines = read_raw_text(path)
    first = next(lines, "")
    separator = TAB if find_suffix(path) == ".tsv" else max(SEPARATORS, key=first.count)
    names = _read_names(first, separator, path)
    reader = csv.reader(_count_text(lines, most, path), delimiter=separator, strict=True)
    while True:
        place = f"line {reader.line_num + 2}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            problem = escape(str(error), keep="", longest=200)
            raise DataError(f"{quote(str(path))}, {place}: not a row of a table ({problem})") from error
        if cells is None:
            return
        if cells:
            yield Record(place, _build_row(names, cells))


def _read_names(first: str, separator: str, path: Path) -> list[str]:
    names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    if not names or not all(names) or len(set(names)) < len(names):
        raise DataError(
            f"{quote(str(path))} must begin with a line of column names, each once, found {quote(names, 100)}"
        )
    return names


def _build_row(names: list[str], cells: list[str]) -> object:
    if len(cells) != len(names):
        return ValueError(
            f"the row must have {say_count(len(names), 'cell')}, as the first line has, found {len(cells)}"
        )
    return {name: cell or None for name, cell in zip(names, cells, strict=True)}


def _count_text(lines: Iterator[str], most: int, path: Path) -> Iterator[str]:
    """Yield the lines; refuse a row of too many lines, such as one whose quotes never end."""
    length = 0
    is_open = False
    for line in lines:
        length = length + len(line) if is_open else len(line)
        if length > most:
            raise DataError(f"{quote(str(path))}: a row is too long: {LIMITS['row_mb'].advice}")
        # A quote inside quotes is written as two, so an odd number opens or closes.
        is_open ^= line.count('"') % 2 == 1
        yield line
