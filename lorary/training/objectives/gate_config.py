"""The configuration of the training of gates."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from lorary.training.field_checks import count, not_negative, positive, refuse_faults, share, whole
from lorary.training.loop.settings import LoopSettings

_CHECKS = {
    **dict.fromkeys(("num_steps", "batch_size", "tokens_per_pass", "row_length"), count),
    "learning_rate": positive,
    "warmup_ratio": share,
    "weight_decay": not_negative,
    "seed": whole,
}

GATE_EPOCHS, FEWEST_STEPS = 5, 20


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """The configuration of the training of gates, the same for every expert."""

    num_steps: int = 200
    """Number of optimiser steps."""
    batch_size: int = 8
    """Examples of each expert per step."""
    learning_rate: float = 5e-3
    """Peak learning rate of AdamW."""
    warmup_ratio: float = 0.06
    """Share of the steps over which the learning rate rises from 0; after it, it falls to 0 linearly."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    tokens_per_pass: int = 2048
    """Maximum tokens in one forward pass, shared ones counted once; gradients of several passes add up."""
    row_length: int = 512
    """Length of the rows that examples are packed into (longer examples make longer rows)."""
    seed: int = 0
    """Seed, combined with each expert's name, of the order of examples."""

    def __post_init__(self) -> None:
        refuse_faults("gate configuration", self, _CHECKS)

    @property
    def loop(self) -> LoopSettings:
        """The settings for the loop."""
        return LoopSettings(
            batch_size=self.batch_size,
            max_steps=self.num_steps,
            tokens_per_pass=self.tokens_per_pass,
            row_length=self.row_length,
            seed=self.seed,
        )


def choose_gate_steps(sizes: Iterable[int], batch_size: int = GateConfig.batch_size) -> int:
    """Choose the steps of a training of gates, the same for all experts: some epochs of the largest task.

    Args:
        sizes: number of training examples of each task.
        batch_size: examples of each expert per step.

    Returns:
        The steps of ``GATE_EPOCHS`` epochs, within ``FEWEST_STEPS`` and the default of ``GateConfig``.
    """
    return min(GateConfig.num_steps, max(FEWEST_STEPS, ceil(GATE_EPOCHS * max(sizes) / batch_size)))
