"""Files of rows: JSON lines, a JSON list, or a Super-NaturalInstructions task; plain, gzip or xz."""

import gzip
import json
import lzma
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, cast

from lorary.data.readers.natural_instructions import is_task_file, read_definition
from lorary.data.source import Record, Source
from lorary.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\x00"


def open_file(path: Path) -> Source:
    """Open a file of rows; what it is shows in its content, not in its name.

    Raises:
        DataError: if the file is missing, corrupt, empty or not JSON; reading the rows may raise it too.
    """
    lines = ((number, text) for number, text in _read_lines(path) if text.strip())
    first = next(lines, None)
    if first is None:
        raise DataError(f"{str(path)!r} is empty: it must have at least one row")
    if _is_row(_parse_json(first[1])):
        return Source(name=str(path), records=_parse_lines(chain([first], lines)))
    return _open_document(path, [first, *lines])


def _open_document(path: Path, lines: list[tuple[int, str]]) -> Source:
    """Open a file that is one JSON value, or whose first line is broken."""
    content = _parse_json("".join(text for _, text in lines))
    if isinstance(content, ValueError):
        if any(_is_row(_parse_json(text)) for _, text in lines):
            return Source(name=str(path), records=_parse_lines(lines))
        raise DataError(f"{str(path)!r} must be JSON lines or one JSON document, it is neither: {content}")
    if isinstance(content, dict) and is_task_file(content):
        return _open_task_file(path, content)
    if isinstance(content, list):
        records = (Record(f"row {number}", row) for number, row in enumerate(content, start=1))
        return Source(name=str(path), records=records)
    keys = ", ".join(map(repr, content)) if isinstance(content, dict) else repr(content)
    raise DataError(
        f"{str(path)!r} must be JSON lines, a list of rows, or a task with 'Definition' and 'Instances'; "
        f"it is one JSON value with {keys}"
    )


def _open_task_file(path: Path, content: dict[str, object]) -> Source:
    instances = content["Instances"]
    if not isinstance(instances, list):
        raise DataError(f"{str(path)!r}: 'Instances' must be a list, not {type(instances).__name__}")
    try:
        definition = read_definition(content)
    except ValueError as error:
        raise DataError(f"{str(path)!r}: {error}") from error
    records = (Record(_name_instance(number, row), row) for number, row in enumerate(instances, start=1))
    return Source(name=str(path), records=records, definition=definition, format="natural-instructions")


def _name_instance(number: int, row: object) -> str:
    return (
        f"instance {number} ({row['id']!r})"
        if isinstance(row, dict) and "id" in row
        else f"instance {number}"
    )


def _is_row(content: object) -> bool:
    return isinstance(content, dict) and not is_task_file(content)


def _parse_lines(lines: Iterable[tuple[int, str]]) -> Iterator[Record]:
    for number, text in lines:
        yield Record(f"line {number}", _parse_json(text))


def _parse_json(text: str) -> object:
    """Return the JSON value in ``text``, or the error if there is none."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        return ValueError(f"not valid JSON: {error}")


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file, whatever packs it."""
    try:
        with _open_text(path) as lines:
            yield from enumerate(lines, start=1)
    except FileNotFoundError as error:
        raise DataError(f"there is no task file {str(path)!r}: check the path") from error
    except IsADirectoryError as error:
        raise DataError(
            f"a task file must be a file, {str(path)!r} is a folder: name one file in it"
        ) from error
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{str(path)!r} is corrupt or cut short ({error}): fetch it again") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} must be UTF-8 text, it is not: {error}") from error


def _open_text(path: Path) -> IO[str]:
    with open(path, "rb") as file:
        magic = file.read(len(XZ_MAGIC))
    # utf-8-sig: some editors open a file with a byte order mark.
    if magic == XZ_MAGIC:
        return cast(IO[str], lzma.open(path, "rt", encoding="utf-8-sig"))
    if magic.startswith(GZIP_MAGIC):
        return cast(IO[str], gzip.open(path, "rt", encoding="utf-8-sig"))
    return open(path, encoding="utf-8-sig")
