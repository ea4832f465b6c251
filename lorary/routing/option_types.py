"""Checking that a router's options have the types that its configuration declares.

Options also come from files and command lines, where a number may be a text, or too large for float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, get_args, get_origin, get_type_hints

from lorary.files import quote

SMALLEST, LARGEST = 1e-30, 1e30
"""Bounds of numbers that scores are divided or multiplied by, so that results stay within float32."""
TYPE_NAMES: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Literal: "a text",
    Sequence: "a list of texts, none of them empty,",
    Mapping: "a mapping of names to numbers",
}


class Options(Protocol):
    """A dataclass of options."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def require_types(options: Options) -> None:
    """Check that all options have values of the declared types; a whole number also counts as a number.

    Raises:
        ValueError: if some have not; the message has all of them.
    """
    hints = _read_hints(type(options))
    faults = [
        f"{field.name} must be {_describe(hints[field.name])}, found {quote(value, 60)}"
        for field in fields(options)
        if not _fits(value := getattr(options, field.name), hints[field.name])
    ]
    if faults:
        raise ValueError("; ".join(faults))


@cache
def _read_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return any(_fits(value, part) for part in parts)
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Literal:
        return isinstance(value, str)
    if kind is Sequence:
        return isinstance(value, list | tuple) and all(_fits(each, parts[0]) for each in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(
            _fits(each, part) for pair in value.items() for each, part in zip(pair, parts, strict=True)
        )
    return isinstance(value, kind)


def _describe(hint: Any) -> str:
    if get_origin(hint) is UnionType:
        parts = [part for part in get_args(hint) if part is not NoneType]
        return " or ".join([*map(_describe, parts), *["None"] * (NoneType in get_args(hint))])
    return TYPE_NAMES[get_origin(hint) or hint]
