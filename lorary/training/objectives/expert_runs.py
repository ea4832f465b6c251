"""What all trainings of experts have in common, with lorary's layers or PEFT's."""

import math
from dataclasses import asdict
from typing import Any

from lorary.errors import TrainingError
from lorary.files import say_count
from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples
from lorary.training.loop.adamw import AdamW
from lorary.training.progress import UnitProgress


def make_adamw(config: TrainConfig) -> AdamW:
    """Make the optimiser of a configuration."""
    return AdamW(
        learning_rate=config.learning_rate,
        schedule=config.schedule,
        warmup_ratio=config.warmup_ratio,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
    )


def check_expert_loss(name: str, what: str, loss: float, step: int, config: TrainConfig) -> float:
    """Check that an expert's loss is finite; see ``Objective.check_loss``.

    Raises:
        TrainingError: if it is not.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"expert {name!r}: the {what} must be finite, found {loss} after {say_count(step, 'step')}: "
            f"lower learning_rate ({config.learning_rate:g}) and run again with fresh=True (--fresh), or "
            "check its examples"
        )
    return loss


def describe_training(
    config: TrainConfig, examples: TrainingExamples, progress: UnitProgress
) -> dict[str, Any]:
    """Describe the training of an expert, for its card's provenance."""
    return {
        "training": asdict(config),
        "data": {"digest": examples.digest, "num_train": len(examples.train)},
        "steps": progress.step,
        "best_step": progress.best_step,
        "tokens": progress.tokens,
    }
