"""What the fields of a configuration must be, as ends of a sentence about those that are not."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lorary.files import quote

Check = Callable[[Any], str | None]
"""Says what a value must do to be right, such as ``"be positive"``; None if it is."""

# What an optimiser makes of larger ones float32 cannot hold.
_LARGEST = 1e37


def find_field_faults(config: object, checks: Mapping[str, Check]) -> Iterator[str]:
    """Say which fields of a configuration are not what they must be.

    Args:
        config: the configuration.
        checks: field name -> what it must be.
    """
    for name, check in checks.items():
        value = getattr(config, name)
        if fault := check(value):
            yield f"{name} must {fault}, not {quote(value, 60)}"


def optional(check: Check) -> Check:
    """Let a value also be None."""
    return lambda value: None if value is None else check(value)


def whole(value: Any) -> str | None:
    """Ask for a whole number."""
    return None if isinstance(value, int) and not isinstance(value, bool) else "be a whole number"


def count(value: Any) -> str | None:
    """Ask for a whole number of at least 1."""
    return whole(value) or (None if value >= 1 else "be at least 1")


def positive(value: Any) -> str | None:
    """Ask for a finite number above 0."""
    return _number(value) or (None if value > 0 else "be positive")


def not_negative(value: Any) -> str | None:
    """Ask for a finite number of at least 0."""
    return _number(value) or (None if value >= 0 else "be at least 0")


def share(value: Any) -> str | None:
    """Ask for a number from 0 to below 1."""
    return _number(value) or (None if 0 <= value < 1 else "lie in [0, 1)")


def switch(value: Any) -> str | None:
    """Ask for true or false."""
    return None if isinstance(value, bool) else "be true or false"


def _number(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "be a number"
    return None if -_LARGEST <= value <= _LARGEST else f"be a number of at most {_LARGEST:g}"
