"""The result of an adaptation."""

from collections.abc import Mapping
from dataclasses import dataclass

from lorary.adaptation.methods.contract import Weights
from lorary.experts import Expert
from lorary.training.progress import UnitProgress


@dataclass(frozen=True, kw_only=True)
class AdaptedTask:
    """The result for one task."""

    expert: Expert
    """The new expert; its card has parents, method, selected experts and their weights."""
    progress: UnitProgress
    """Steps, tokens trained on, curves."""
    scores: Mapping[str, float | None]
    """The experts that the method could use, with their retrieval scores."""
    weights: Weights
    """The experts from which the new expert was made or started, and their weights; empty for a fresh
    expert."""
    num_read: int
    """Tokens read in addition to those of the training: by retrieval, by the choice of a start, and
    by trainings of a protocol that were not chosen."""
    losses: tuple[float, ...] = ()
    """Losses of the examples that were measured, nats per target token."""
    error: float
    """Relative error of the start, or of a weighted sum, from the truncation to its rank."""

    @property
    def num_tokens(self) -> int:
        """The seen tokens: those of the training, and those read in addition."""
        return self.num_read + self.progress.tokens


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """The result of an adaptation."""

    tasks: dict[str, AdaptedTask]
    """Task -> its result, in the order of the examples."""
    seconds: float
    """Time for all tasks together, without sessions that were killed."""

    @property
    def experts(self) -> dict[str, Expert]:
        """Task -> its expert."""
        return {name: found.expert for name, found in self.tasks.items()}
