"""The settings of the loop, which are the same for all objectives."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """The settings of the loop, the same for every unit of a run."""

    batch_size: int
    """Examples per step of one unit."""
    seed: int = 0
    """Seed of the order of examples, combined with each unit's name."""
    epochs: float | None = None
    """Number of passes over a unit's examples. At least one of the three bounds must be set."""
    max_steps: int | None = None
    """Maximum number of steps of one unit."""
    max_tokens: int | None = None
    """Maximum number of tokens (input and target) that one unit is trained on."""
    tokens_per_pass: int = 2048
    """Maximum number of tokens in one forward pass; gradients of several passes add up."""
    row_length: int = 512
    """Length of the rows that examples are packed into."""
    validate_every: int | None = None
    """Steps between two validation losses; None: no validation, and the last values are kept."""
    validate_start: bool = False
    """Measure the validation loss before the first step too, so that the start is kept if it is the best."""
    patience: int | None = None
    """Validations without improvement after which a unit's training stops; None: no early stopping."""
    checkpoint_seconds: float = 60.0
    """Seconds between two writes of the state, if there is a run folder."""
    gradient_checkpointing: bool = False
    """Run decoder layers again during backward instead of keeping their activations."""
