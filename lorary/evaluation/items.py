"""One tokenised text of an evaluation."""

from dataclasses import dataclass

from lorary.data import TokenizedExample

Prompt = tuple[int, ...]
"""Token ids."""


@dataclass(frozen=True)
class Item:
    """One tokenised text to be scored or continued, and its task."""

    task: str
    """The task's name."""
    tokens: TokenizedExample
    """Prompt and answer."""
    max_new_tokens: int = 0
    """Maximum tokens of a generated answer."""
    first_line: bool = False
    """Whether only the answer's first line is used."""
