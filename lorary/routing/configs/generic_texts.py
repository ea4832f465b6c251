"""Checks of the option ``generic``, the user's own generic requests."""

from collections.abc import Iterator, Sequence


def find_generic_faults(generic: Sequence[str] | None) -> Iterator[str]:
    """List the faults of generic requests: there must be two of them or more, and none empty."""
    if generic is not None and not all(generic):
        yield "generic must be a list of texts, none of them empty"
    elif generic is not None and len(generic) < 2:
        yield (
            f"generic must have at least two texts, found {len(generic)}: add some, or leave it out "
            "to let the base model generate some"
        )
