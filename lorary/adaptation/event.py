"""Reports of an adaptation, for progress bars."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class AdaptEvent:
    """The report of a method while it works."""

    stage: str
    """What is done, in a few words."""
    num_done: int
    """Number of finished steps of this stage."""
    num_steps: int
    """Number of all steps of this stage."""
    num_tokens: int = 0
    """Tokens trained on since this run was started or resumed."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Task -> its last training loss."""
