"""Files of prompts: a prompt per line, or rows of JSON or a table with a prompt each."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from lorary.data.readers.files import open_file
from lorary.data.readers.tables import is_table
from lorary.errors import DataError
from lorary.files import quote, read_at_most

KEYS = ("prompt", "input", "instruction", "question", "text")
"""Names of the column with the prompt; the first that a row has is read."""
ROWS = (".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".xz")


class GivenPrompt(NamedTuple):
    """A prompt, and where it comes from."""

    text: str
    """The prompt."""
    place: str
    """File and line, for messages; empty for the command line."""


def read_prompts(path: Path) -> list[GivenPrompt]:
    """Read the prompts of a file.

    JSON, tables and Parquet have rows with a prompt each: a text, or a value of one of ``KEYS``. Any other
    file is text with a prompt on each line; empty lines are left out.

    Raises:
        DataError: if the file cannot be read, has a row without a prompt, or no prompt.
    """
    is_rows = path.suffix.lower() in ROWS or is_table(path)
    found = _read_rows(path) if is_rows else _read_lines(path)
    if not found:
        raise DataError(f"{quote(str(path))} must have at least one prompt, found none")
    return found


def _read_lines(path: Path) -> list[GivenPrompt]:
    try:
        text = read_at_most(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"prompt file {quote(str(path))} does not exist: check --prompts") from error
    except UnicodeError as error:
        raise DataError(f"{quote(str(path))} must be UTF-8 text ({error}): convert it") from error
    # Unlike splitlines(), this keeps the other characters that break lines, such as U+2028, in their prompt.
    lines = enumerate(StringIO(text, newline=None), 1)
    return [
        GivenPrompt(line.removesuffix("\n"), f"{quote(str(path))}, line {number}")
        for number, line in lines
        if line.strip()
    ]


def _read_rows(path: Path) -> list[GivenPrompt]:
    return [
        _find_prompt(record.row, f"{quote(str(path))}, {record.place}") for record in open_file(path).records
    ]


def _find_prompt(row: object, where: str) -> GivenPrompt:
    if isinstance(row, ValueError):
        raise DataError(f"{where}: {row}") from row
    value = row
    if isinstance(row, Mapping):
        value = next((row[key] for key in KEYS if row.get(key)), None)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where} must have a prompt, in one of {', '.join(KEYS)}, found {quote(row, 100)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} must be Unicode text, found {quote(value, 100)}: correct it") from error
    return GivenPrompt(value, where)
