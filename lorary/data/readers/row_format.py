"""The contract of a reader of one kind of row, and functions that read a row's fields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lorary.data.task import Example
from lorary.files import check_shape, quote

Row = Mapping[str, Any]
MOST_NAMED = 10  # maximum number of fields in a message


def keep_whole(row: Row) -> Sequence[Row]:
    """Return a row as its only part."""
    return (row,)


def count_none(row: Row) -> int:
    """Return 0, for rows that mark no answers as bad."""
    return 0


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """A kind of row, and how its rows become examples."""

    keys: str
    """Description of the row's fields, for documentation and messages."""
    meaning: str
    """Description of which fields become the prompt and which the target, for documentation."""
    example: Row
    """A row of this kind, for documentation and tests."""
    matches: Callable[[Row], bool]
    """Returns whether a row is of this kind, judged by its fields."""
    read: Callable[[Row], Example]
    """Turns a row, or a part of it, into an example; raises ``ValueError`` with the fault of a bad row."""
    part: Callable[[Row], Sequence[Row]] = keep_whole
    """Returns the parts of a row that become one example each; none if it has only a bad answer."""
    count_rejected: Callable[[Row], int] = count_none
    """Returns the number of answers that a row marks as bad."""


def take_text(row: Row, key: str) -> str:
    """Return a field that must be text, stripped and with ``\\n`` as line end."""
    if key not in row:
        raise ValueError(f"the row must have field {key!r}, found {name_keys(row)}")
    return clean_text(row[key], key)


def clean_text(value: object, where: str) -> str:
    """Return ``value``, which must be text that is not blank, stripped and with ``\\n`` as line end."""
    if not isinstance(value, str):
        raise ValueError(f"{quote(where, 60)} must be text, not {quote(value, 60)}")
    text = value.replace("\r\n", "\n").strip()
    if not text:
        raise ValueError(f"{quote(where, 60)} is empty")
    try:
        check_shape(text, max_depth=1)
    except ValueError as error:
        raise ValueError(f"{quote(where, 60)} must be Unicode text: {error}") from error
    return text


def take_texts(row: Row, key: str) -> tuple[str, ...]:
    """Return a field that must be a list of texts."""
    value = row.get(key)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"field {key!r} must be a list of texts, not {quote(value, 60)}")
    return tuple(clean_text(item, key) for item in value)


def take_answers(row: Row, key: str) -> tuple[str, ...]:
    """Return a field that is a text, or a list of at least one text; all of them are right answers."""
    if isinstance(row.get(key), list | tuple) and not row[key]:
        raise ValueError(f"{key!r} must have at least one text, found an empty list")
    return take_texts(row, key) if isinstance(row.get(key), list | tuple) else (take_text(row, key),)


def is_filled(row: Row, key: str) -> bool:
    """Return whether a row has a field that is neither missing nor blank."""
    return key in row and not (isinstance(row[key], str) and not row[key].strip())


def take_index(row: Row, key: str, num_choices: int, first: int = 0) -> int:
    """Return the right choice's index, from 0, of a field that counts from ``first``."""
    value = row.get(key)
    # Only numbers of few digits: longer ones cannot be an index, and take long to parse.
    number = value
    if isinstance(value, str) and len(value) < 10 and value.strip().isdecimal():
        number = int(value)
    if type(number) is not int or not first <= number < first + num_choices:
        allowed = f"a number from {first} to {first + num_choices - 1}"
        raise ValueError(f"field {key!r} must name the right answer, {allowed}, not {quote(value, 60)}")
    return number - first


def choose(input: str, choices: tuple[str, ...], index: int, cue: str | None = None) -> Example:
    """Build a multiple-choice example whose right answer is ``choices[index]``."""
    return Example(input, (choices[index],), choices, cue=cue)


def has_keys(*keys: str) -> Callable[[Row], bool]:
    """Return a function that returns whether a row has all of ``keys``."""
    return lambda row: all(key in row for key in keys)


def name_keys(row: Row) -> str:
    """List the first few fields of a row, for messages."""
    names = [quote(key, 60) for key in islice(row, MOST_NAMED)]
    return ", ".join([*names, *(["…"] if len(row) > MOST_NAMED else [])]) or "none"
