"""Files of rows: JSON, a table, or Parquet; plain, gzip or xz.

JSON may be lines, a list, objects written over several lines, or a Super-NaturalInstructions task.

All are read row by row, so the memory needed depends only on the longest row.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from json import JSONDecoder
from pathlib import Path

from lorary.data.readers.foreign import LONGEST, refuse_foreign
from lorary.data.readers.json_stream import JsonStream
from lorary.data.readers.lines import parse_json, read_lines, say_not_utf8
from lorary.data.readers.natural_instructions import is_task_file, read_categories, read_definition
from lorary.data.readers.parquet import MAGIC, read_parquet
from lorary.data.readers.tables import is_table, read_table
from lorary.data.readers.unpack import CHUNK, open_unpacked
from lorary.data.source import Record, Source
from lorary.errors import DataError
from lorary.files import quote

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Maximum number of white-space bytes before the bytes that show a file's kind.
MOST_SPACE = 16
# Maximum number of lines searched for a valid row after an invalid first line.
MOST_BROKEN = 1000
# Maximum number of keys in a message about a JSON value that is not a task.
MOST_KEYS = 8


def open_file(path: Path) -> Source:
    """Open a file of rows. Its kind is found from its content; only tables are recognised by their names.

    Raises:
        DataError: if the file is missing, corrupt, empty, of an unknown kind, or exceeds a limit; also while
            its rows are read.
    """
    start = _read_start(path)
    refuse_foreign(start, str(path))
    if start.startswith(MAGIC):
        return Source(name=str(path), records=read_parquet(path))
    return Source(name=str(path), records=read_table(path)) if is_table(path) else _open_json_file(path)


def _open_json_file(path: Path) -> Source:
    if _find_opening(path) == b"[":
        return Source(name=str(path), records=_read_list(path))
    if _has_row(path, 1):
        return Source(name=str(path), records=_read_rows(path))
    try:
        definition, categories = _read_task_head(path)
    except DataError:
        if _begins_with_long_row(path):
            return Source(name=str(path), records=_read_values(path))
        if _has_row(path, MOST_BROKEN):
            return Source(name=str(path), records=_read_rows(path))
        raise
    records = _read_instances(path)
    return Source(
        name=str(path),
        records=records,
        definition=definition,
        format="natural-instructions",
        categories=categories,
    )


def _read_start(path: Path) -> bytes:
    """Return a file's first bytes, enough to recognise its kind."""
    with open_unpacked(path) as file:
        return file.read(max(LONGEST, len(MAGIC)) + MOST_SPACE)


def _find_opening(path: Path) -> bytes:
    """Return the first byte that is not white space."""
    with open_unpacked(path) as file:
        while chunk := file.read(CHUNK):
            if opening := chunk.removeprefix(BYTE_ORDER_MARK).lstrip():
                return opening[:1]
    raise DataError(f"{quote(str(path))} is empty: it must have at least one row")


def _has_row(path: Path, num_lines: int) -> bool:
    """Return whether one of the first lines is a complete row."""
    try:
        return any(_is_row(parse_json(text)) for _, text in islice(read_lines(path), num_lines))
    except DataError:
        return False  # the error will be reported when the rows are read


def _begins_with_long_row(path: Path) -> bool:
    """Return whether the file begins with a row over several lines."""
    try:
        _, line = next(read_lines(path))
        with suppress(ValueError, RecursionError):
            JSONDecoder().raw_decode(line.lstrip())
            return False  # a row on one line, followed by something else
        with _open_json(path) as stream:
            return _is_row(stream.read_value())
    except DataError:
        return False


def _is_row(content: object) -> bool:
    return isinstance(content, dict) and not is_task_file(content)


def _read_rows(path: Path) -> Iterator[Record]:
    for number, text in read_lines(path):
        yield Record(f"line {number}", parse_json(text))


def _read_list(path: Path) -> Iterator[Record]:
    with _open_json(path) as stream:
        for number, row in enumerate(stream.read_items(), start=1):
            yield Record(f"row {number}", row)
        stream.finish()


def _read_values(path: Path) -> Iterator[Record]:
    with _open_json(path) as stream:
        number = 0
        while stream.peek():
            number += 1
            yield Record(f"row {number}", stream.read_value())


def _read_instances(path: Path) -> Iterator[Record]:
    with _open_json(path) as stream:
        for key in stream.read_keys():
            if key != "Instances":
                stream.read_value()
                continue
            for number, row in enumerate(stream.read_items(), start=1):
                yield Record(_name_instance(number, row), row)
        stream.finish()


def _name_instance(number: int, row: object) -> str:
    if isinstance(row, dict) and "id" in row:
        return f"instance {number} ({quote(row['id'], 60)})"
    return f"instance {number}"


def _read_task_head(path: Path) -> tuple[str, tuple[str, ...]]:
    """Read a task's definition, before or after the instances, and the categories before it."""
    found: dict[str, object] = {}
    keys: list[str] = []
    with _open_json(path) as stream:
        if stream.peek() != "{":
            keys.append(quote(stream.read_value(), 60))
            stream.finish()
        else:
            for key in stream.read_keys():
                if len(keys) <= MOST_KEYS:
                    keys.append(quote(key, 60))
                value = _read_member(stream, key, path)
                if key in ("Definition", "Instances", "Categories"):
                    found[key] = value
                if is_task_file(found):
                    break
            else:
                stream.finish()
    if not is_task_file(found):
        more = ", …" if len(keys) > MOST_KEYS else ""
        raise DataError(
            f"{quote(str(path))} must be JSON lines, a list of rows, or a task with 'Definition' and "
            f"'Instances', found one JSON value with {', '.join(keys[:MOST_KEYS])}{more}"
        )
    try:
        return read_definition(found), read_categories(found)
    except ValueError as error:
        raise DataError(f"{quote(str(path))}: {error}") from error


def _read_member(stream: JsonStream, key: str, path: Path) -> object:
    """Read a definition or categories; skip any other value."""
    if key != "Instances" or stream.peek() != "[":
        value = stream.read_value()
        if key == "Instances":
            kind = type(value).__name__
            raise DataError(f"{quote(str(path))}: 'Instances' must be a list, not {kind}")
        return value if key in ("Definition", "Categories") else None
    for _ in stream.read_items():
        pass
    return None


@contextmanager
def _open_json(path: Path) -> Iterator[JsonStream]:
    with open_unpacked(path) as file:
        stream = JsonStream(file)
        try:
            yield stream
        except UnicodeDecodeError as error:
            before = stream.num_bytes - len(error.object)
            raise DataError(say_not_utf8(path, "", error, before)) from error
        except ValueError as error:
            raise DataError(
                f"{quote(str(path))} must be JSON lines or one JSON document, but is neither: {error}; a "
                'plain text is a row {"text": "…"}'
            ) from error
