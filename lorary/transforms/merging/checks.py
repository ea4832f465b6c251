"""Checks of a method's configuration, which report all faults at once."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lorary.files import quote

MOST_FAULTS = 8


def refuse_faults(config: Any, others: Iterable[str] = ()) -> None:
    """Raise if a field's value has another type than declared, or if any of its values is out of range.

    Args:
        config: a dataclass of options; those that several methods have are checked by ``RANGES``.
        others: further faults of the values; they are computed only if all types are right.

    Raises:
        ValueError: with all faults.
    """
    faults = list(find_type_faults(config)) or [*_find_range_faults(config), *others]
    if faults:
        raise ValueError(join_faults(faults))


def join_faults(faults: Iterable[str]) -> str:
    """Join faults into one message: the first ``MOST_FAULTS``, and the number of others."""
    listed = list(faults)
    more = f"; and {len(listed) - MOST_FAULTS} more" if len(listed) > MOST_FAULTS else ""
    return "; ".join(listed[:MOST_FAULTS]) + more


def _find_range_faults(config: Any) -> Iterator[str]:
    for field in fields(config):
        if field.name in RANGES:
            yield from RANGES[field.name](field.name, getattr(config, field.name))


def find_type_faults(config: Any) -> Iterator[str]:
    """Yield a fault for each field whose value has another type than declared.

    An int is valid where a float is declared; a bool is not valid where a number is declared.
    """
    hints = get_type_hints(type(config))
    for field in fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if get_origin(hint) is Literal:
            choices = get_args(hint)
            if value not in choices:
                yield f"{field.name} must be {' or '.join(map(repr, choices))}, found {quote(value)}"
        elif hint in NAMES and not is_of_type(value, hint):
            yield f"{field.name} must be {NAMES[hint]}, found {quote(value)}"


OPTIONAL_FLAG = bool | None
NAMES = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    OPTIONAL_FLAG: "true or false",
    str: "a name",
}


def is_of_type(value: Any, hint: Any) -> bool:
    """Return whether a field of type ``hint`` may have this value."""
    if isinstance(value, bool):
        return hint in (bool, OPTIONAL_FLAG)
    return isinstance(value, int | float if hint is float else hint)


def check_share(name: str, value: float) -> Iterator[str]:
    """Yield a fault if a value is not in (0, 1]."""
    if not 0 < value <= 1:
        yield f"{name} must be in (0, 1], found {quote(value)}"


def check_finite_number(name: str, value: float) -> Iterator[str]:
    """Yield a fault if a value is NaN, infinite or too large for a float."""
    # Not math.isfinite: it raises OverflowError for a very large int.
    if not abs(value) <= sys.float_info.max:
        yield f"{name} must be a finite number, found {quote(value)}"


RANGES: Mapping[str, Callable[[str, float], Iterator[str]]] = {
    "density": check_share,
    "scale": check_finite_number,
}
"""Name of an option of several methods -> the check of its values."""
