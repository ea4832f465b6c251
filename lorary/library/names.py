"""Which names in a library can be experts', and which of them some file systems take for each other."""

from collections.abc import Iterable

from lorary.experts import check_known_name
from lorary.experts.names import fold_name


def is_name(name: object) -> bool:
    """Return whether this could be an expert's name."""
    try:
        check_known_name(name)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def find_namesake(name: str, others: Iterable[str]) -> str | None:
    """Find a name that differs from this one, but only in case or in how its accents are written."""
    folded = fold_name(name)
    return next((other for other in others if other != name and fold_name(other) == folded), None)
