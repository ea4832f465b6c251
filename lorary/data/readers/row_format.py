"""What a reader of one kind of row is, and how it takes fields out of a row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lorary.data.task import Example

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """How rows of one kind become examples."""

    keys: str
    """The fields such a row has, in words, for documentation and errors."""
    matches: Callable[[Row], bool]
    """Whether a row is of this kind, judged by its fields."""
    read: Callable[[Row], Example]
    """Turns a row into an example; raises ``ValueError`` saying what is wrong with the row."""


def take_text(row: Row, key: str) -> str:
    """Return a field that must hold text, stripped and with ``\\n`` as line end."""
    if key not in row:
        raise ValueError(f"field {key!r} is missing, the row has {_name_keys(row)}")
    return clean_text(row[key], key)


def clean_text(value: object, where: str) -> str:
    """Return ``value``, which must be text that is not blank, stripped and with ``\\n`` as line end."""
    if not isinstance(value, str):
        raise ValueError(f"{where!r} must be text, not {value!r}")
    text = value.replace("\r\n", "\n").strip()
    if not text:
        raise ValueError(f"{where!r} is empty")
    return text


def take_texts(row: Row, key: str) -> tuple[str, ...]:
    """Return a field that must hold a list of texts."""
    value = row.get(key)
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"field {key!r} must be a list of texts, not {value!r}")
    return tuple(clean_text(item, key) for item in value)


def take_index(row: Row, key: str, num_choices: int, first: int = 0) -> int:
    """Return the right choice's place, counted from 0, from a field that counts from ``first``."""
    value = row.get(key)
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if not isinstance(number, int) or not first <= number < first + num_choices:
        allowed = f"a number from {first} to {first + num_choices - 1}"
        raise ValueError(f"field {key!r} must name the right answer, {allowed}, not {value!r}")
    return number - first


def choose(input: str, choices: tuple[str, ...], index: int, cue: str | None = None) -> Example:
    """Build a multiple-choice example whose right answer is ``choices[index]``."""
    return Example(input, (choices[index],), choices, cue=cue)


def has_keys(*keys: str) -> Callable[[Row], bool]:
    """Return a test of whether a row has all of ``keys``."""
    return lambda row: all(key in row for key in keys)


def _name_keys(row: Row) -> str:
    return ", ".join(repr(key) for key in row) or "no fields"
