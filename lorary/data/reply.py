"""An answer as a template writes it after the prompt."""

from collections.abc import Sequence
from typing import NamedTuple


class Reply(NamedTuple):
    """What follows a prompt: the opening, the answer, and what ends the turn."""

    text: str
    """The answer as it stands there, such as with the space that parts it from the prompt."""
    opening: str = ""
    """What the template writes between prompt and answer, such as an empty thought."""
    ending: str = ""
    """What the template writes after the answer."""
    is_rewritten: bool = False
    """Whether the finished conversation does not begin with the prompt."""
    is_merged: bool = False
    """Whether the template refuses system turns, so that what they say opens the user's first turn."""


def find_common_start(texts: Sequence[str]) -> str:
    """Return the longest text that all of ``texts`` begin with; at least one must be given."""
    first, last = min(texts), max(texts)
    places = (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    return first[: next(places, len(first))]
