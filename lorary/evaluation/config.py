"""The configuration of an evaluation."""

from dataclasses import dataclass
from typing import Literal

from lorary.data.fitting import Truncation
from lorary.evaluation.measures import find_metric


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """The configuration of an evaluation."""

    metrics: tuple[str, ...] = ("loss",)
    """Names of metrics: keys of ``list_metrics()``."""
    split: Literal["train", "validation", "test"] = "test"
    """The split of the tasks."""
    num_examples: int | None = 100
    """Maximum examples per task, chosen by content hash; null: all."""
    max_length: int = 512
    """Maximum tokens of prompt and target together."""
    truncation: Truncation = "skip"
    """What to do with longer examples; a target is never cut."""
    max_new_tokens: int = 64
    """Maximum tokens of a generated answer; for tasks with short targets it is lower."""
    tokens_per_pass: int = 2048
    """Maximum tokens in one forward pass."""
    batch_size: int = 16
    """Number of prompts that are answered in one batch."""
    seed: int = 0
    """Seed of the choice of examples."""

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics must name one or more, each once, found {self.metrics!r}")
        for metric in self.metrics:
            find_metric(metric)
        for name in ("max_length", "max_new_tokens", "tokens_per_pass", "batch_size", "num_examples"):
            value = getattr(self, name)
            if value is None and name == "num_examples":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} must be a whole number, not {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
