"""What a training run is told."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from lorary.files import quote
from lorary.training.field_checks import (
    count,
    find_field_faults,
    not_negative,
    optional,
    positive,
    share,
    switch,
    whole,
)
from lorary.training.loop.settings import LoopSettings

# How often the state is saved, how many tokens share a pass and what is computed twice change no expert.
WITHOUT_EFFECT = ("checkpoint_seconds", "tokens_per_pass", "gradient_checkpointing")
SCHEDULES = ("linear", "cosine", "constant")
_SIZES = {
    **dict.fromkeys(("rank", "batch_size", "tokens_per_pass", "row_length", "num_slots"), count),
    **dict.fromkeys(("seed", "max_validation_examples"), whole),
    **dict.fromkeys(("use_rslora", "gradient_checkpointing", "same_start"), switch),
}
_RATES = {
    **dict.fromkeys(("learning_rate", "alpha"), positive),
    **dict.fromkeys(("epochs", "max_grad_norm"), optional(positive)),
    **dict.fromkeys(("max_steps", "max_tokens", "validate_every", "patience"), optional(count)),
    **dict.fromkeys(("weight_decay", "checkpoint_seconds"), not_negative),
    "warmup_ratio": share,
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How experts are trained; the same for every expert of a run."""

    rank: int = 8
    """Rank of each expert's factors."""
    alpha: float = 16.0
    """LoRA's alpha: the weight change is ``alpha / rank * b @ a``; saved experts have this folded in."""
    use_rslora: bool = False
    """Divide alpha by the square root of the rank instead of the rank."""
    target_modules: str | list[str] = "all-linear"
    """Layers that get experts: 'all-linear', path endings, or a regular expression over whole paths."""
    batch_size: int = 8
    """Examples per optimiser step of one expert."""
    tokens_per_pass: int = 2048
    """Most tokens in one forward pass, shared ones counted once; larger batches are accumulated."""
    row_length: int = 512
    """Length of the rows that examples are packed into (longer examples make longer rows)."""
    gradient_checkpointing: bool = False
    """Run decoder layers again on the way back instead of keeping what they computed: slower, less memory."""
    num_slots: int = 8
    """Experts trained side by side; others wait until one has finished."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay of the learning rate to 0 after the warm-up."""
    warmup_ratio: float = 0.06
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_grad_norm: float | None = 1.0
    """Largest norm of one expert's gradient; null does not clip."""
    epochs: float | None = None
    """Passes over an expert's examples; null sets no bound."""
    max_steps: int | None = None
    """Most optimiser steps of one expert; null sets no bound."""
    max_tokens: int | None = None
    """Most tokens (input and target) one expert is trained on; null sets no bound."""
    validate_every: int | None = None
    """Steps between two validation losses; null does not validate and keeps the last weights."""
    patience: int | None = None
    """Validations without improvement after which an expert stops early; null never stops early."""
    max_validation_examples: int = 32
    """Examples per validation loss."""
    checkpoint_seconds: float = 60.0
    """Seconds between two savings of the resumable state."""
    seed: int = 0
    """Seed of initial weights and of the order of examples, together with each expert's name."""
    same_start: bool = False
    """Give all experts the same initial weights, as where each is trained by itself with one seed: their
    factors then compare, which clustering by the paper's recipe needs."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _SIZES)]
        if self.epochs is None and self.max_steps is None and self.max_tokens is None:
            faults.append("one of epochs, max_steps and max_tokens must bound the run")
        faults += find_field_faults(self, _RATES)
        if self.patience is not None and self.validate_every is None:
            faults.append("patience needs validate_every: an early stop looks at validation losses")
        if self.schedule not in SCHEDULES:
            faults.append(
                f"schedule must be 'linear', 'cosine' or 'constant', not {quote(self.schedule, 60)}"
            )
        targets = [self.target_modules] if isinstance(self.target_modules, str) else self.target_modules
        if not isinstance(targets, list | tuple) or not all(isinstance(target, str) for target in targets):
            faults.append(f"target_modules must be a string or a list of them, not {quote(targets, 60)}")
        if faults:
            raise ValueError("training configuration: " + "; ".join(faults))

    @property
    def scale(self) -> float:
        """The factor before ``b @ a``."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)

    @property
    def loop(self) -> LoopSettings:
        """What of it the loop is told."""
        return LoopSettings(**{field.name: getattr(self, field.name) for field in fields(LoopSettings)})


def list_effective(config: TrainConfig) -> dict[str, Any]:
    """Give the settings that an expert depends on, as JSON values: a run is known again by them."""
    return _keep_effective(asdict(config))


def gives_the_same(settings: object, config: TrainConfig) -> bool:
    """Tell whether an expert trained with some settings is the one that a configuration gives.

    This decides wherever that is asked: for a run folder, for the experts in it, and for a library's.

    Args:
        settings: what an expert's card says of its training; anybody's, so it may be of any type. What an
            earlier version had no setting for was as it now is by default.
        config: how experts are trained here.
    """
    if not isinstance(settings, Mapping):
        return False
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    return _keep_effective({**defaults, **settings}) == list_effective(config)


def _keep_effective(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
        if name not in WITHOUT_EFFECT
    }
