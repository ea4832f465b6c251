"""One text of an evaluation, as tokens."""

from dataclasses import dataclass

from lorary.data import TokenizedExample

Prompt = tuple[int, ...]
"""Token ids."""


@dataclass(frozen=True)
class Item:
    """One tokenised text to be scored or continued, and where it belongs."""

    task: str
    """The task's name."""
    tokens: TokenizedExample
    """Prompt and answer."""
    max_new_tokens: int = 0
    """Most tokens of an answer, for generation."""
    first_line: bool = False
    """Whether the answer's first line is all that is wanted."""
