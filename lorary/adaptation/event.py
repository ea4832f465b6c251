"""Reports of an adaptation, for progress bars."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorary.training.loop.event import TrainEvent


@dataclass(frozen=True, kw_only=True)
class AdaptEvent:
    """A progress report of a method."""

    stage: str
    """The current stage, in a few words."""
    num_done: int
    """Number of finished steps of this stage."""
    num_steps: int
    """Number of all steps of this stage."""
    num_tokens: int = 0
    """Tokens trained on since this run was started or resumed."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Task -> its last training loss."""

    @classmethod
    def of_training(cls, event: "TrainEvent[Any]", stage: str = "training") -> "AdaptEvent":
        """Make the report of a training."""
        return cls(
            stage=stage,
            num_done=event.num_steps,
            num_steps=event.total_steps,
            num_tokens=event.num_tokens,
            losses=event.losses,
        )
