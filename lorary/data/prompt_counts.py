"""Counts of examples that were left out or changed when they were tokenised."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True, kw_only=True)
class PromptCounts:
    """Numbers of examples that were left out or changed when they were tokenised."""

    num_cut: int = 0
    """Examples whose prompt was shortened."""
    num_skipped: int = 0
    """Examples left out because they are too long."""
    num_rewritten: int = 0
    """Examples whose finished conversation, by the chat template, does not begin with the prompt."""
    num_merged: int = 0
    """Examples whose system turn was joined to the user's first turn, because the chat template refuses
    it."""

    def __add__(self, other: "PromptCounts") -> "PromptCounts":
        cut, skipped, rewritten, merged = map(sum, zip(astuple(self), astuple(other), strict=True))
        return PromptCounts(num_cut=cut, num_skipped=skipped, num_rewritten=rewritten, num_merged=merged)
