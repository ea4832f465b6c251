"""Reading the lines of a task file, each of limited length."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from lorary.data.readers.unpack import open_unpacked
from lorary.errors import DataError
from lorary.files import LIMITS, escape, quote

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Maximum number of blank lines, since a hostile file could have very many.
MOST_BLANK = 1_000_000


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a file that are not blank.

    Raises:
        DataError: if the file cannot be read, is not UTF-8 text, or has too long a line.
    """
    blank = 0
    for number, text in enumerate(read_raw_text(path), start=1):
        if text.strip():
            blank = 0
            yield number, text
        else:
            blank += 1
        if blank > MOST_BLANK:
            raise DataError(f"{quote(str(path))}, line {number}: more than {MOST_BLANK:,} lines are blank")


def read_raw_text(path: Path) -> Iterator[str]:
    """Yield all lines of a file, with their line ends, without a byte order mark at the beginning.

    Raises:
        DataError: as ``read_lines``.
    """
    offset = 0
    for number, line in enumerate(_read_raw_lines(path), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise DataError(say_not_utf8(path, f", line {number}", error, offset)) from error
        offset += len(line)
        # Some editors write a byte order mark at the beginning.
        yield text.removeprefix("\ufeff" if number == 1 else "")


def parse_json(text: str) -> object:
    """Return the JSON value in ``text``, or a ``ValueError`` if it is not valid JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        text = text.rstrip("\r\n")
        near = text[error.pos : error.pos + 20].rstrip()
        where = f", near {quote(near)}" if near else ", where the line ends"
        place = min(error.pos, len(text)) + 1
        return ValueError(f"not valid JSON: {error.msg} at character {place:,}{where}")
    except (ValueError, RecursionError) as error:
        problem = str(error) or type(error).__name__
        return ValueError(f"not valid JSON: {escape(problem, keep='', longest=200)}")


def say_not_utf8(path: Path, place: str, error: UnicodeDecodeError, offset: int) -> str:
    """Return the message about a file that is not UTF-8, with the place and how to convert it.

    Args:
        path: the file's path.
        place: such as ``", line 3"``; empty if unknown.
        error: Python's error.
        offset: number of bytes of the unpacked file before those that were decoded.
    """
    start = error.start
    near = quote(error.object[max(start - 10, 0) : start + 10])
    found, origin = f"has byte 0x{error.object[start]:02x} in {near}, at offset {offset + start:,}", "LATIN1"
    if start == 0 and error.object[:2] in UTF16_MARKS:
        found, origin = "begins like UTF-16", "UTF-16"
    return (
        f"{quote(str(path))}{place} must be UTF-8 text, but {found}: save it as UTF-8, for example "
        f"with iconv -f {origin} -t UTF-8 OLD > NEW"
    )


def _read_raw_lines(path: Path) -> Iterator[bytes]:
    limit = LIMITS["row_mb"]
    most = limit.num_bytes
    with open_unpacked(path) as file:
        number = 0
        while line := file.readline(most + 1):
            if len(line) > most and not line.endswith(b"\n"):
                raise DataError(f"{quote(str(path))}, line {number + 1} is too long: {limit.advice}")
            # In JSON, a carriage return can only be a line end (of old systems).
            parts = [line] if b"\r" not in line[:-2] else re.findall(rb"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+", line)
            number += len(parts)
            yield from parts
