"""Check the fields of a protocol's file; faults are collected, not raised."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from lorary.errors import suggest
from lorary.files import quote

T = TypeVar("T")
Check = tuple[Callable[[Any], bool], str]
"""A test of a value, and the description of valid values."""


def is_text(value: Any) -> bool:
    """Whether a value is a text that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def is_texts(value: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def is_number(value: Any) -> bool:
    """Whether a value is a number above 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def is_values(value: Any) -> bool:
    """Whether a value maps names to texts, numbers or lists of these."""
    return isinstance(value, Mapping) and all(
        isinstance(key, str)
        and all(_is_plain(part) for part in (entry if isinstance(entry, list) else [entry]))
        for key, entry in value.items()
    )


def is_numbers(value: Any) -> bool:
    """Whether a value maps names to numbers."""
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(entry, int | float) and not isinstance(entry, bool)
        for key, entry in value.items()
    )


TEXT: Check = (is_text, "a text")
TEXTS: Check = (is_texts, "a list of texts")
NUMBER: Check = (is_number, "a number above 0")
VALUES: Check = (is_values, "a mapping from names to texts, numbers or lists of these")
NUMBERS: Check = (is_numbers, "a mapping from names to numbers")
MAPPING: Check = (lambda value: isinstance(value, Mapping), "a mapping")


def check_fields(
    content: Any, checks: Mapping[str, Check], required: set[str], where: str, faults: list[str]
) -> dict[str, Any]:
    """Check one mapping.

    Args:
        content: the value.
        checks: the known keys.
        required: keys that must be there.
        where: what it is, for messages.
        faults: faults are added here.

    Returns:
        The valid entries.
    """
    if not isinstance(content, Mapping):
        faults.append(f"{where} must be a mapping, found {quote(content, 60)}")
        return {}
    for key in content:
        if key not in checks:
            faults.append(f"{where} has an unknown key {quote(key, 60)}: {suggest(str(key)[:100], checks)}")
    faults += [f"{where} has no {key}" for key in sorted(required - content.keys())]
    right = {}
    for key, (is_right, what) in checks.items():
        if key in content and is_right(content[key]):
            right[key] = content[key]
        elif key in content:
            faults.append(f"{key} of {where} must be {what}, found {quote(content[key], 60)}")
    return right


def list_required(kind: Any) -> set[str]:
    """List the fields of a dataclass that have no default."""
    return {
        entry.name for entry in fields(kind) if entry.default is MISSING and entry.default_factory is MISSING
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
