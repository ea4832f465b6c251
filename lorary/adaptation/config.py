"""The configuration of an adaptation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lorary.adaptation.methods.table import METHODS
from lorary.adaptation.retrieval.table import RETRIEVALS
from lorary.errors import suggest
from lorary.experts.skills.choices import GRANULARITIES, WEIGHTINGS, Granularity, Weighting
from lorary.files import quote
from lorary.training import TrainConfig
from lorary.training.config import list_effective
from lorary.training.field_checks import count, find_field_faults, not_negative, optional, positive, switch
from lorary.training.objectives.few_shot import FEW_SHOT_PROTOCOLS, FewShotProtocol

DEFAULT_METHOD = "nearest"
FEW_SHOT: Mapping[str, Any] = {"epochs": 20, "batch_size": 4, "validate_every": 5, "patience": 5}
"""The default settings of the training for few examples; the others are those of ``TrainConfig``."""
_CHECKS = {
    **dict.fromkeys(("retrieve", "rank", "mixed_rank", "num_read"), optional(count)),
    **dict.fromkeys(("num_skills", "num_splits"), count),
    **dict.fromkeys(("weights_learning_rate", "table_learning_rate", "limit"), positive),
    "penalty": not_negative,
    "train_general": switch,
}
ADDED: Mapping[str, Any] = {"protocol": "given", "train_general": False}
"""Settings that earlier versions do not have; with these values a run is the same as without them."""
_CHOICES = {"granularity": GRANULARITIES, "weighting": WEIGHTINGS, "protocol": FEW_SHOT_PROTOCOLS}


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """The configuration of an adaptation, the same for all of its tasks."""

    method: str = DEFAULT_METHOD
    """How the library is used: a key of ``METHODS``."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(**FEW_SHOT))
    """Settings of the training. Its limits are the budget of every method; its ``rank`` has no effect, see
    ``rank``."""
    rank: int | None = None
    """Rank of the new experts; null: the largest rank of the library's experts, or without
    experts ``train.rank``. The scale of ``b @ a`` is that of ``train``."""
    retrieve: int | None = None
    """Number of experts that are retrieved first for each task; null: all experts are used."""
    by: str | None = None
    """How experts are retrieved, a key of ``RETRIEVALS``; null: calibrated, and embedding on a base model
    with an encoder."""
    num_read: int | None = 4
    """Number of training examples that retrieval and the router of a start read; null: all. Their
    tokens are taken from the budget of the training."""
    train_general: bool = False
    """For methods that fine-tune experts which build on a general one: start from the sum of both, truncated
    to the new rank, and train all of it; false: the new expert builds on the general one, which is not
    changed."""
    multi_task: str | None = None
    """Method multi-task: the expert of the library that was trained on all tasks."""
    skills: str | None = None
    """Methods poly and mhr: any skill of a trained set in the library; null: the experts are used as
    skills."""
    granularity: Granularity = "linear"
    """Layers that share weights: 'model', 'block', 'layer' (such as an attention) or 'linear'."""
    weights_learning_rate: float = 0.01
    """Method weights: peak learning rate of the weights."""
    table_learning_rate: float = 0.1
    """Methods poly and mhr: peak learning rate of the table."""
    weighting: Weighting = "relaxed"
    """Methods poly and mhr: weights in training; 'relaxed' and 'straight_through' are sampled."""
    protocol: FewShotProtocol = "given"
    """Methods poly and mhr: 'given' has the budget of all methods. The published protocols, without early
    stopping, are 'fixed', 1,000 steps at 3e-3, and 'grid', 1,000 steps at 1e-3 and at 1e-4, each with 0.5 and
    0.1 for the table; the one with the lowest validation loss is kept."""
    num_skills: int = 8
    """Methods poly-scratch and mhr-scratch: number of skills."""
    num_splits: int = 8
    """Methods mhr: blocks of a layer's inputs and outputs, each with its own weights."""
    limit: float = 1.5
    """Method lorahub: weights are between -limit and limit."""
    penalty: float = 0.05
    """Method lorahub: factor of the weights' mean absolute value, which is added to the loss."""
    mixed_rank: int | None = None
    """Methods lorahub and weights: rank to which the weighted sum is truncated; null: the sum is exact."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _CHECKS)]
        for name, table, what in (("method", METHODS, "method"), ("by", RETRIEVALS, "retrieval")):
            value = getattr(self, name)
            if value not in table and not (name == "by" and value is None):
                faults.append(f"no {what} is named {quote(value, 60)}: {suggest(str(value)[:200], table)}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                faults.append(
                    f"{name} must be one of {', '.join(known)}, found {quote(getattr(self, name), 60)}"
                )
        if faults:
            raise ValueError("adaptation: " + "; ".join(faults))


def describe_config(config: AdaptConfig) -> dict[str, Any]:
    """Return the settings that determine the result, as JSON values, for the identity of a run."""
    found = {**asdict(config), "train": list_effective(config.train)}
    return {name: value for name, value in found.items() if ADDED.get(name) != value or name not in ADDED}


def fit_train(config: AdaptConfig, ranks: list[int]) -> TrainConfig:
    """Return the settings of the training at the rank of the new experts.

    Args:
        config: the configuration.
        ranks: ranks of the library's experts.
    """
    rank = config.rank or max(ranks, default=0) or config.train.rank
    share = rank / config.train.rank
    alpha = config.train.alpha * (share**0.5 if config.train.use_rslora else share)
    return replace(config.train, rank=rank, alpha=alpha)
