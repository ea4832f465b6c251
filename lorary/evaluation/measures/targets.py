"""Checking the targets that answers are compared with."""

from collections.abc import Sequence

from lorary.files import quote


def check_targets(targets: Sequence[str]) -> None:
    """Check that targets are a sequence of at least one text.

    Raises:
        TypeError: if they are a single text, whose letters would count as targets.
        ValueError: if there is none.
    """
    if isinstance(targets, str):
        raise TypeError(f"targets must be a sequence of texts, found the single text {quote(targets)}")
    if not targets:
        raise ValueError("an answer needs at least one target to be scored against, found none")
