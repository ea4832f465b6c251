"""What the loop is told, whatever it trains."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How units are taken through their steps; the same for every unit of a run."""

    batch_size: int
    """Examples per step of one unit."""
    seed: int = 0
    """Seed of the order of examples, together with each unit's name."""
    epochs: float | None = None
    """Passes over a unit's examples; None sets no bound, but one of the three must."""
    max_steps: int | None = None
    """Most steps of one unit."""
    max_tokens: int | None = None
    """Most tokens (input and target) one unit is trained on."""
    tokens_per_pass: int = 2048
    """Most tokens in one forward pass; larger batches are accumulated."""
    row_length: int = 512
    """Length of the rows that examples are packed into."""
    validate_every: int | None = None
    """Steps between two validation losses; None keeps the last values."""
    patience: int | None = None
    """Validations without improvement after which a unit stops early; None never stops early."""
    checkpoint_seconds: float = 60.0
    """Seconds between two savings of the state, where there is a run folder."""
    gradient_checkpointing: bool = False
    """Run decoder layers again on the way back instead of keeping what they computed."""
