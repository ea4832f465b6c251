"""An answer as a template writes it after the prompt."""

from collections.abc import Sequence
from typing import NamedTuple


class Reply(NamedTuple):
    """The text after a prompt: an opening, the answer, and an ending."""

    text: str
    """The answer as it is written there, for example with a space before it."""
    opening: str = ""
    """Text that the template writes between prompt and answer, such as an empty reasoning block."""
    ending: str = ""
    """Text that the template writes after the answer."""
    is_rewritten: bool = False
    """Whether the finished conversation does not begin with the prompt."""
    is_merged: bool = False
    """Whether the template refuses system turns, so that their text was joined to the user's first turn."""


def find_common_start(texts: Sequence[str]) -> str:
    """Return the longest common beginning of ``texts``; there must be at least one."""
    first, last = min(texts), max(texts)
    places = (place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1])
    return first[: next(places, len(first))]
