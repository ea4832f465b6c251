"""News from a run, for progress bars."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from lorary.training.loop.contract import ProductT_co


@dataclass(frozen=True)
class TrainEvent(Generic[ProductT_co]):
    """What a run says after each pass."""

    num_steps: int
    """Optimiser steps taken, over all units, restored ones included."""
    total_steps: int
    """Steps that all units' plans add up to (early stops make it fewer)."""
    num_tokens: int
    """Tokens trained on since this run was started or resumed."""
    finished: Mapping[str, ProductT_co]
    """Products of the units that are done, those of earlier calls included."""
    losses: Mapping[str, float]
    """Last training loss of each unit in training."""

    @property
    def num_finished(self) -> int:
        """How many units are done."""
        return len(self.finished)
