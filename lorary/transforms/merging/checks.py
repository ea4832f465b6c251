"""How a method's configuration says what is wrong with it: all faults at once."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from lorary.files import quote

MOST_FAULTS = 8


def refuse_faults(config: Any, ranges: Iterable[str]) -> None:
    """Raise if a field has another type than declared, or one of the faults found is not empty.

    Args:
        config: a dataclass of options.
        ranges: what is wrong with the values themselves.

    Raises:
        ValueError: naming every fault.
    """
    faults = list(find_type_faults(config)) or list(ranges)
    if faults:
        raise ValueError(join_faults(faults))


def join_faults(faults: Iterable[str]) -> str:
    """Put faults into one message: all of them, if they are a handful."""
    listed = list(faults)
    more = f"; and {len(listed) - MOST_FAULTS} more" if len(listed) > MOST_FAULTS else ""
    return "; ".join(listed[:MOST_FAULTS]) + more


def find_type_faults(config: Any) -> Iterator[str]:
    """Say which fields hold another type than declared; an integer is a number, a truth value is none."""
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
    """Tell whether a value is what a field of this type may hold."""
    if isinstance(value, bool):
        return hint in (bool, OPTIONAL_FLAG)
    return isinstance(value, int | float if hint is float else hint)


def check_share(name: str, value: float) -> Iterator[str]:
    """Say if a value is not a share of something: above 0, at most 1."""
    if not 0 < value <= 1:
        yield f"{name} must lie in (0, 1], found {quote(value)}"


def check_finite_number(name: str, value: float) -> Iterator[str]:
    """Say if a value is NaN or infinite."""
    # Compared as it is: a huge integer is no float.
    if not abs(value) <= sys.float_info.max:
        yield f"{name} must be a finite number, found {quote(value)}"
