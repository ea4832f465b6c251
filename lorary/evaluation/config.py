"""What an evaluation is told."""

from dataclasses import dataclass
from typing import Literal

from lorary.data.fitting import Truncation
from lorary.evaluation.measures import find_metric


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What is measured, and on how much."""

    metrics: tuple[str, ...] = ("loss",)
    """Names of metrics: keys of ``list_metrics()``."""
    split: Literal["train", "validation", "test"] = "test"
    """Which split of the tasks."""
    num_examples: int | None = 100
    """Most examples per task, chosen by content hash; null takes all."""
    max_length: int = 512
    """Most tokens of prompt and target together."""
    truncation: Truncation = "skip"
    """What to do with longer examples; a target is never cut."""
    max_new_tokens: int = 64
    """Most tokens of a generated answer; tasks with short targets are given less."""
    tokens_per_pass: int = 2048
    """Most tokens in one forward pass."""
    batch_size: int = 16
    """Prompts that are answered at once."""
    seed: int = 0
    """Seed of the choice of examples."""

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics must name one or more, each once, found {self.metrics!r}")
        for metric in self.metrics:
            find_metric(metric)
        for name in ("max_length", "max_new_tokens", "tokens_per_pass", "batch_size", "num_examples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
