"""The contract of methods: their inputs and results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorary.adaptation.config import AdaptConfig
from lorary.adaptation.event import AdaptEvent
from lorary.adaptation.methods.table import METHODS
from lorary.experts import Expert
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples
from lorary.training.progress import UnitProgress

Weights = Mapping[str, float] | Mapping[str, Mapping[str, float]]
"""Expert -> weight; or group of layers -> expert -> weight, if these differ."""


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A new task, and the experts that a method may use for it."""

    name: str
    """The task's name, which is also the new expert's."""
    examples: TrainingExamples
    """Its few examples; ``spent_tokens`` has the tokens that retrieval has read."""
    chosen: Mapping[str, float | None]
    """Expert -> retrieval score, the best first; None if all experts are used without retrieval."""
    budget: int
    """Tokens that every method may read and train on for this task."""

    @property
    def left(self) -> int:
        """The part of the budget that retrieval has not spent."""
        return max(0, self.budget - self.examples.spent_tokens)


@dataclass(frozen=True, kw_only=True)
class Context:
    """The settings and inputs that all tasks of an adaptation share."""

    base: BaseModel
    """The base model, without experts attached."""
    experts: Mapping[str, Expert]
    """A library or any other mapping; a ``Library`` stores facts about its experts."""
    config: AdaptConfig
    """The configuration."""
    train: TrainConfig
    """The settings of the training, with the rank of the new experts."""
    folder: Path
    """The folder of the method's own resumable state."""
    general: Expert | None = None
    """The general expert that the experts build on; None for none."""
    router_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the calibrated router, where it is used."""
    trust_base: bool = False
    """Whether to use experts for another base model, see ``load_model``."""
    on_progress: Callable[[AdaptEvent], None] = lambda event: None
    """Called with the progress of the method."""

    @property
    def trains_general(self) -> bool:
        """Whether the general expert is trained too."""
        is_used = "train_general" in METHODS[self.config.method].settings
        return is_used and self.config.train_general and self.general is not None

    @property
    def on_top_of(self) -> Expert | None:
        """The general expert that new experts build on; None if it is trained with them."""
        return None if self.trains_general else self.general


@dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a new expert's training."""

    expert: Expert | None
    """An expert of any rank; None for a new one."""
    weights: Weights = field(default_factory=dict)
    """The experts that it is made of, and their weights; empty for a new one."""
    num_tokens: int = 0
    """Tokens of the examples that were read to find it, besides those of retrieval."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An expert that a method has made."""

    expert: Expert
    """The expert; the caller writes its card."""
    progress: UnitProgress
    """Steps, tokens, curves; the tokens count as trained on."""
    weights: Weights = field(default_factory=dict)
    """The experts that it is made of, and their weights."""
    error: float = 0.0
    """Relative error of its weight change from truncation to a lower rank."""
    num_tokens: int = 0
    """Other tokens read after retrieval: to find a start, or by trainings that were not
    chosen."""
