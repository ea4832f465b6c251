"""How many examples are not trained on or measured as they are."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True, kw_only=True)
class PromptCounts:
    """How many examples are left out or changed on the way to tokens."""

    num_cut: int = 0
    """Examples whose prompt was shortened."""
    num_skipped: int = 0
    """Examples left out because they are too long."""
    num_rewritten: int = 0
    """Examples whose finished conversation the chat template writes otherwise than the prompt."""
    num_merged: int = 0
    """Examples whose system turn opens the user's first, because the chat template refuses it."""

    def __add__(self, other: "PromptCounts") -> "PromptCounts":
        cut, skipped, rewritten, merged = map(sum, zip(astuple(self), astuple(other), strict=True))
        return PromptCounts(num_cut=cut, num_skipped=skipped, num_rewritten=rewritten, num_merged=merged)
