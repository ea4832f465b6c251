"""The time of one training run, and the batches of both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorary import TrainConfig
from lorary.data import TokenizedExample
from lorary.training import TrainingExamples
from lorary.training.loop.trainee import plan_unit

Batch = list[TokenizedExample]


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One run over all experts."""

    later_seconds: float
    """All steps but the first of each expert, in which memory and kernels warm up."""
    whole_seconds: float
    """Everything, from a bare base model to saved experts."""
    loss: float
    """Mean training loss of the last step, over the experts."""


def configure_run(*, rank: int, batch_size: int, num_steps: int) -> TrainConfig:
    """Configure the training of both sides: every step alike, and nothing saved before the end."""
    return TrainConfig(
        rank=rank,
        batch_size=batch_size,
        max_steps=num_steps,
        schedule="constant",
        warmup_ratio=0.0,
        checkpoint_seconds=1e9,
    )


def plan_steps(name: str, examples: TrainingExamples, config: TrainConfig) -> list[Batch]:
    """List the batches that lorary uses for an expert, one per step."""
    return [[examples.train[index] for index in batch] for batch in plan_unit(name, examples, config.loop)]


def count_tokens(batches: Sequence[Batch]) -> int:
    """Count input and target tokens, without padding."""
    return sum(len(example) for batch in batches for example in batch)


def plan_all(examples: Mapping[str, TrainingExamples], config: TrainConfig) -> list[Batch]:
    """List, for each step, the examples of all experts together."""
    plans = [plan_steps(name, found, config) for name, found in examples.items()]
    return [[example for batch in step for example in batch] for step in zip(*plans, strict=True)]
