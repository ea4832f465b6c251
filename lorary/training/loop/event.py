"""Reports of a run, for progress bars."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

from lorary.training.loop.contract import ProductT_co
from lorary.training.progress import UnitProgress


@dataclass(frozen=True)
class TrainEvent(Generic[ProductT_co]):
    """The report of a run after each pass."""

    num_steps: int
    """Number of optimiser steps taken by all units, including those of resumed runs."""
    total_steps: int
    """Number of steps of all units' plans (fewer are taken with early stopping)."""
    num_tokens: int
    """Number of tokens trained on since this run was started or resumed."""
    finished: Mapping[str, ProductT_co]
    """Products of the finished units, including those of earlier calls."""
    losses: Mapping[str, float]
    """Last training loss of each unit in training."""
    progress: Mapping[str, UnitProgress] = field(default_factory=dict)
    """Progress of each unit in training and each finished one, with its curves so far; not a copy."""

    @property
    def num_finished(self) -> int:
        """Number of finished units."""
        return len(self.finished)
