"""Checking names of experts, and finding names that some file systems treat as equal."""

from collections.abc import Iterable

from lorary.experts import check_name
from lorary.experts.names import fold_name


def is_name(name: object) -> bool:
    """Return whether a name is valid for an expert."""
    try:
        check_name(name, is_stored=True)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def find_namesake(name: str, others: Iterable[str]) -> str | None:
    """Return a name that differs from this one only in case or in how accents are encoded, or None."""
    folded = fold_name(name)
    return next((other for other in others if other != name and fold_name(other) == folded), None)
