"""The rows of benchmarks: files of JSON lines in a folder, plain or packed, each read once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorary.data.readers.files import open_file
from lorary.errors import DataError
from lorary.files import hash_file, quote, say_count

PACKED = ("", ".xz", ".gz")
# Number of bad rows that a message lists.
MOST_LISTED = 5


class Rows(NamedTuple):
    """The rows of a file."""

    rows: tuple[dict[str, Any], ...]
    """One mapping for each row, all with the same fields."""
    places: tuple[str, ...]
    """The file and line of each row, for messages."""


class DataFolder:
    """A folder of benchmark files.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._read: dict[str, Rows] = {}
        self.digests: dict[str, str] = {}
        """File's name -> SHA-256, for each file that was read."""

    def find(self, name: str) -> Path | None:
        """Return the path of a file, which may be packed; None if there is none."""
        paths = (self.path / f"{name}{ending}" for ending in PACKED)
        return next((path for path in paths if path.is_file()), None)

    def read(self, name: str) -> Rows:
        """Read all rows of a file.

        Raises:
            DataError: if it is missing, not UTF-8, empty, or has rows that are not JSON objects
                with the same fields.
        """
        if name not in self._read:
            path = self.find(name)
            if path is None:
                raise DataError(self.explain_missing(name))
            self._read[name] = _read_rows(path)
            self.digests[path.relative_to(self.path).as_posix()] = hash_file(path)
        return self._read[name]

    def explain_missing(self, name: str) -> str:
        """Raise an error for a missing file, with its possible names."""
        names = " or ".join(quote(f"{name}{ending}") for ending in PACKED[:2])
        return f"the data folder {quote(str(self.path))} must have {names}, found neither"


def _read_rows(path: Path) -> Rows:
    rows: list[dict[str, Any]] = []
    places: list[str] = []
    faults: list[str] = []
    for place, row in open_file(path).records:
        fault = _find_fault(row, rows[0] if rows else None)
        if fault is None:
            assert isinstance(row, dict)
            rows.append(row)
            places.append(f"{quote(str(path))}, {place}")
        else:
            faults.append(f"{place}: {fault}")
    if faults:
        more = f", and {say_count(len(faults) - MOST_LISTED, 'other')}" if len(faults) > MOST_LISTED else ""
        raise DataError(f"{quote(str(path))} has bad rows: {'; '.join(faults[:MOST_LISTED])}{more}")
    if not rows:
        raise DataError(f"{quote(str(path))} must have at least one row, found none")
    return Rows(tuple(rows), tuple(places))


def _find_fault(row: object, first: Mapping[str, Any] | None) -> str | None:
    if isinstance(row, ValueError):
        return str(row)
    if not isinstance(row, dict):
        return f"a row must be a JSON object with fields, not {quote(row, 60)}"
    if first is not None and row.keys() != first.keys():
        return (
            f"a row must have the fields {quote(sorted(first))} of the first one, found {quote(sorted(row))}"
        )
    return None
