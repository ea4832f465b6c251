"""What answers are held against."""

from collections.abc import Sequence

from lorary.files import quote


def check_targets(targets: Sequence[str]) -> None:
    """Refuse targets that no answer can be held against.

    Raises:
        TypeError: if they are one text, whose letters would be taken for targets.
        ValueError: if there is none.
    """
    if isinstance(targets, str):
        raise TypeError(f"targets must be a sequence of texts, found the single text {quote(targets)}")
    if not targets:
        raise ValueError("an answer needs at least one target to be scored against, found none")
