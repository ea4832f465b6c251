"""The configuration of a training run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from lorary.files import escape, quote
from lorary.training.field_checks import (
    count,
    count_or_zero,
    find_field_faults,
    not_negative,
    optional,
    positive,
    share,
    switch,
    whole,
)
from lorary.training.loop.settings import LoopSettings

# Settings that do not change the trained experts.
WITHOUT_EFFECT = ("checkpoint_seconds", "tokens_per_pass", "gradient_checkpointing")
# The number of experts in training at once changes them by rounding only, but a saved state depends on it.
OF_THE_RUN = ("num_slots",)
# Settings that earlier versions do not have: with these values a training is the same as without them.
ADDED = {"dropout": 0.0}
SCHEDULES = ("linear", "cosine", "constant")
_SIZES = {
    **dict.fromkeys(("rank", "batch_size", "tokens_per_pass", "row_length", "num_slots"), count),
    **dict.fromkeys(("seed", "max_validation_examples"), whole),
    **dict.fromkeys(("use_rslora", "gradient_checkpointing", "same_start"), switch),
}
_RATES = {
    **dict.fromkeys(("learning_rate", "alpha"), positive),
    **dict.fromkeys(("epochs", "max_grad_norm"), optional(positive)),
    **dict.fromkeys(("max_tokens", "validate_every", "patience"), optional(count)),
    "max_steps": optional(count_or_zero),
    **dict.fromkeys(("weight_decay", "checkpoint_seconds"), not_negative),
    **dict.fromkeys(("warmup_ratio", "dropout"), share),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The configuration of a training run, the same for all of its experts."""

    rank: int = 8
    """Rank of each expert's factors."""
    alpha: float = 16.0
    """LoRA's alpha: the weight change is ``alpha / rank * b @ a``; in saved experts ``b`` includes the
    factor."""
    use_rslora: bool = False
    """Divide alpha by the square root of the rank instead of the rank."""
    target_modules: str | list[str] = "all-linear"
    """Layers that experts change: 'all-linear', path endings, or a regular expression for whole paths."""
    batch_size: int = 8
    """Examples per optimiser step of one expert."""
    tokens_per_pass: int = 2048
    """Maximum tokens in one forward pass, shared ones counted once; gradients of several passes add up."""
    row_length: int = 512
    """Length of the rows that examples are packed into (longer examples make longer rows)."""
    gradient_checkpointing: bool = False
    """Run decoder layers again during backward instead of keeping their activations: slower, less memory."""
    num_slots: int = 8
    """Number of experts trained at the same time; others wait until one has finished."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay of the learning rate to 0 after the warm-up."""
    warmup_ratio: float = 0.06
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    dropout: float = 0.0
    """Share of a layer's inputs that an expert does not see, drawn again for each step (PEFT: for each
    token)."""
    max_grad_norm: float | None = 1.0
    """Maximum norm of one expert's gradient; null: no clipping."""
    epochs: float | None = None
    """Number of passes over an expert's examples; null: no bound."""
    max_steps: int | None = None
    """Maximum optimiser steps of one expert; null: no bound; 0: a start is kept unchanged."""
    max_tokens: int | None = None
    """Maximum tokens (input and target) that one expert is trained on; null: no bound."""
    validate_every: int | None = None
    """Steps between two validation losses; null: no validation, and the last weights are kept."""
    patience: int | None = None
    """Validations without improvement after which an expert's training stops; null: no early stopping."""
    max_validation_examples: int = 32
    """Maximum examples per validation loss."""
    checkpoint_seconds: float = 60.0
    """Seconds between two writes of the resumable state."""
    seed: int = 0
    """Seed, combined with each expert's name, of initial weights and of the order of examples."""
    same_start: bool = False
    """Use the same initial weights for all experts, which makes their factors comparable; clustering by the
    recipe of MBC's paper needs this."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _SIZES)]
        if self.epochs is None and self.max_steps is None and self.max_tokens is None:
            faults.append("one of epochs, max_steps and max_tokens must be set, found none")
        faults += find_field_faults(self, _RATES)
        if self.patience is not None and self.validate_every is None:
            faults.append(
                "patience needs validate_every, because early stopping depends on validation losses"
            )
        if self.schedule not in SCHEDULES:
            faults.append(
                f"schedule must be 'linear', 'cosine' or 'constant', found {quote(self.schedule, 60)}"
            )
        targets = [self.target_modules] if isinstance(self.target_modules, str) else self.target_modules
        if not isinstance(targets, list | tuple) or not all(isinstance(target, str) for target in targets):
            faults.append(f"target_modules must be a string or a list of strings, found {quote(targets, 60)}")
        if faults:
            raise ValueError("training configuration: " + "; ".join(faults))

    @property
    def scale(self) -> float:
        """The factor before ``b @ a``."""
        return self.alpha / (self.rank**0.5 if self.use_rslora else self.rank)

    @property
    def loop(self) -> LoopSettings:
        """The settings for the loop."""
        names = {field.name for field in fields(self)}
        return LoopSettings(
            **{field.name: getattr(self, field.name) for field in fields(LoopSettings) if field.name in names}
        )


def find_dropout_fault(config: TrainConfig) -> list[str]:
    """Describe the fault that dropout is set where no LoRA experts are trained; empty if it is not."""
    return ["dropout is for experts only, it must be 0 here"] if config.dropout else []


def list_effective(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that an expert depends on, as JSON values; they identify a run."""
    return _keep_effective(asdict(config))


def gives_the_same(settings: object, config: TrainConfig) -> bool:
    """Return whether a training with some settings gives the same expert as a configuration.

    Run folders, the experts in them, and libraries all use this function.

    Args:
        settings: the training settings in an expert's card. A card may come from anywhere, so they may be of
            any type. Settings that are missing, as in cards of earlier versions, count as today's defaults.
        config: the configuration.
    """
    if not isinstance(settings, Mapping):
        return False
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    return _keep_own({**defaults, **settings}) == _keep_own(asdict(config))


def list_differences(settings: object, config: TrainConfig) -> list[str]:
    """Describe the settings in an expert's card that give another expert, such as ``rank 8, not 16``.

    Args:
        settings: as in ``gives_the_same``.
        config: the configuration.
    """
    if not isinstance(settings, Mapping):
        return ["unknown settings"]
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    there, here = _keep_own({**defaults, **settings}), _keep_own(asdict(config))
    different = [name for name in {**here, **there} if there.get(name) != here.get(name)]
    shown = [(escape(str(name), keep="", longest=40), there.get(name), here.get(name)) for name in different]
    return [f"{name} {quote(old, 40)}, not {quote(new, 40)}" for name, old, new in shown]


def _keep_own(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in _keep_effective(settings).items() if name not in OF_THE_RUN}


def _keep_effective(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
        if name not in WITHOUT_EFFECT and (name not in ADDED or value != ADDED[name])
    }
