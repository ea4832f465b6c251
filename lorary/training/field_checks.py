"""Checks of a configuration's fields; each returns the end of a sentence "FIELD must …"."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lorary.files import quote

Check = Callable[[Any], str | None]
"""Function of a value that returns what must hold, such as ``"be positive"``; None if it holds."""

# With larger settings, an optimiser's numbers overflow float32.
_LARGEST = 1e37


def find_field_faults(config: object, checks: Mapping[str, Check]) -> Iterator[str]:
    """Yield a description of each fault in a configuration's fields.

    Args:
        config: the configuration.
        checks: field name -> its check.
    """
    for name, check in checks.items():
        value = getattr(config, name)
        if fault := check(value):
            yield f"{name} must {fault}, found {quote(value, 60)}"


def refuse_faults(what: str, config: object, checks: Mapping[str, Check]) -> None:
    """Raise if a field of a configuration is out of range.

    Args:
        what: what the configuration is of, for the message.
        config: the configuration.
        checks: field name -> its check.

    Raises:
        ValueError: with all faults.
    """
    faults = list(find_field_faults(config, checks))
    if faults:
        raise ValueError(f"{what}: {'; '.join(faults)}")


def optional(check: Check) -> Check:
    """Return a check that also accepts None."""
    return lambda value: None if value is None else check(value)


def whole(value: Any) -> str | None:
    """Check for a whole number."""
    return None if isinstance(value, int) and not isinstance(value, bool) else "be a whole number"


def count(value: Any) -> str | None:
    """Check for a whole number of at least 1."""
    return whole(value) or (None if value >= 1 else "be at least 1")


def count_or_zero(value: Any) -> str | None:
    """Check for a whole number of at least 0."""
    return whole(value) or (None if value >= 0 else "be at least 0")


def positive(value: Any) -> str | None:
    """Check for a finite number above 0."""
    return _number(value) or (None if value > 0 else "be positive")


def not_negative(value: Any) -> str | None:
    """Check for a finite number of at least 0."""
    return _number(value) or (None if value >= 0 else "be at least 0")


def share(value: Any) -> str | None:
    """Check for a number of at least 0 and below 1."""
    return _number(value) or (None if 0 <= value < 1 else "be in [0, 1)")


def switch(value: Any) -> str | None:
    """Check for true or false."""
    return None if isinstance(value, bool) else "be true or false"


def _number(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "be a number"
    return None if -_LARGEST <= value <= _LARGEST else f"be a number of at most {_LARGEST:g}"
