"""The contract of retrieval methods: their inputs and results.

E experts that may be retrieved.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lorary.experts import Expert
from lorary.models import BaseModel
from lorary.training import TrainConfig, TrainingExamples


@dataclass(frozen=True, kw_only=True)
class RetrievalContext:
    """The known information about a new task and the candidate experts."""

    base: BaseModel
    """The base model, without experts attached."""
    experts: Mapping[str, Expert]
    """A library or any other mapping; a ``Library`` stores facts about its experts."""
    task: str
    """Name of the new task."""
    examples: TrainingExamples
    """The new task's few examples."""
    num_read: int | None = None
    """Number of the examples whose prompts are read; None for all."""
    own_examples: Mapping[str, TrainingExamples] = field(default_factory=dict)
    """Expert -> training examples of its own task; empty if these tasks are not available."""
    task_expert: Expert | None = None
    """An expert that was trained on the new task; None to train one briefly if a method needs it."""
    quick: TrainConfig = field(default_factory=lambda: TrainConfig(max_tokens=2000, batch_size=4))
    """The brief training of the new task's expert; rank, layers and initial weights follow the experts."""
    router_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the calibrated router, the fields of ``CalibratedConfig``, if its scores are used."""
    trust_base: bool = False
    """Whether to use experts for another base model, see ``load_model``."""

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """The prompts that are read, as token ids."""
        return [tuple(example.prompt_ids) for example in self.examples.train[: self.num_read]]


class Scores(NamedTuple):
    """A method's scores."""

    values: list[float]
    """A score per expert, E; higher is better."""
    num_tokens: int
    """Tokens that the base model read or was trained on to find them, without those for facts that
    a library stores."""


Scorer = Callable[[RetrievalContext, Sequence[str], int], Scores]
"""``(context, names [E], seed) -> scores``."""
