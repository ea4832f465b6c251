"""What the training of gates is told."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """How gates are trained; the same for every expert."""

    num_steps: int = 200
    """Optimiser steps."""
    batch_size: int = 8
    """Examples of each expert per step."""
    learning_rate: float = 5e-3
    """Peak learning rate of AdamW."""
    warmup_ratio: float = 0.06
    """Share of the steps over which the learning rate rises from 0; after it, it falls to 0 linearly."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    tokens_per_pass: int = 2048
    """Most tokens in one forward pass, shared ones counted once; larger batches are accumulated."""
    row_length: int = 512
    """Length of the rows that examples are packed into (longer examples make longer rows)."""
    seed: int = 0
    """Seed of the order of examples, together with each expert's name."""

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be at least 1, not {getattr(self, name)!r}"
            for name in ("num_steps", "batch_size", "tokens_per_pass", "row_length")
            if getattr(self, name) < 1
        ]
        if not self.learning_rate > 0:
            faults.append(f"learning_rate must be positive, not {self.learning_rate!r}")
        if not 0 <= self.warmup_ratio < 1:
            faults.append(f"warmup_ratio must lie in [0, 1), not {self.warmup_ratio!r}")
        if not self.weight_decay >= 0:
            faults.append(f"weight_decay must be at least 0, not {self.weight_decay!r}")
        if faults:
            raise ValueError("gate configuration: " + "; ".join(faults))
