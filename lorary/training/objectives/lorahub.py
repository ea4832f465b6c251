"""LoraHub: weights of experts for a new task, found from a few examples without gradients.

The one unit is the new task; its row has the weights. E experts that take part.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.files import quote
from lorary.models import ExpertStack
from lorary.passes import Pass, score_pass
from lorary.routing import Chooser
from lorary.training.example_checks import check_examples
from lorary.training.examples import TrainingExamples
from lorary.training.field_checks import count, find_field_faults, not_negative, optional, positive, whole
from lorary.training.loop.loop import Loop
from lorary.training.loop.rows import ParameterRows
from lorary.training.loop.settings import LoopSettings
from lorary.training.objectives.weight_search import WeightSearch
from lorary.training.progress import UnitProgress

UNIT = "the new task"
# What is told to the search of weights under which the model breaks down: it takes finite numbers only.
WORST = 1e9

_CHECKS = {
    "num_experts": optional(count),
    **dict.fromkeys(("num_steps", "tokens_per_pass", "row_length"), count),
    "limit": positive,
    "penalty": not_negative,
    "seed": whole,
}


@dataclass(frozen=True, kw_only=True)
class LorahubConfig:
    """How weights are searched for."""

    num_experts: int | None = 20
    """How many experts take part, drawn at random as in the paper; None for all."""
    num_steps: int = 40
    """How many weightings are tried, the first of which is that of the base model alone."""
    limit: float = 1.5
    """Weights lie between its negative and itself."""
    penalty: float = 0.05
    """Times the mean size of the weights is added to the loss."""
    tokens_per_pass: int = 2048
    """Most tokens in one forward pass, shared ones counted once."""
    row_length: int = 512
    """Length of the rows that examples are packed into (longer examples make longer rows)."""
    seed: int = 0
    """Of the draw and of the search."""

    def __post_init__(self) -> None:
        faults = [*find_field_faults(self, _CHECKS)]
        if faults:
            raise ValueError("search for weights: " + "; ".join(faults))


@dataclass(frozen=True, kw_only=True)
class LorahubResult:
    """What a search found."""

    weights: dict[str, float]
    """Expert -> weight, for those that took part."""
    loss: float
    """On the examples with these weights, nats per target token, without the penalty."""
    base_loss: float
    """The base model's."""


def search_weights(
    stack: ExpertStack,
    names: Sequence[str],
    examples: Sequence[TokenizedExample],
    config: LorahubConfig | None = None,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> LorahubResult:
    """Find weights whose sum of experts answers a few examples best, by nevergrad's NGOpt.

    The model is run with ``sum_e w_e b_e a_e`` in place, exactly, without merging anything; the weights are
    then those of a ``linear`` merge. (The paper's own code adds up ``a`` and ``b`` apart, which has cross
    terms.) Of all weightings that were tried the best is returned.

    Args:
        stack: the experts on their model; left as it was.
        names: the experts that may take part.
        examples: of the new task, at least one.
        config: how to search.
        on_step: called after each weighting with its number, from 1, and the least loss so far.

    Raises:
        ValueError: if there are no examples or experts, one is named twice, or the model cannot read an
            example.
        UnknownExpert: if an expert is not on the model.
        TrainingError: if the base model's loss is not finite.

    Source: LoraHub, arXiv:2307.13269.
    """
    config = config or LorahubConfig()
    if not examples or not names:
        raise ValueError("a search for weights needs at least one example and one expert")
    if len(set(names)) < len(names):
        raise ValueError(f"a search for weights needs each expert once, found {quote(list(names))}")
    check_examples(UNIT, examples, stack.model)

    def tell_step(progress: Mapping[str, UnitProgress]) -> None:
        if on_step is not None:
            curve = progress[UNIT].train_curve
            on_step(len(curve), min(loss for _, loss in curve))

    settings = LoopSettings(
        batch_size=len(examples),
        max_steps=config.num_steps,
        tokens_per_pass=config.tokens_per_pass,
        row_length=config.row_length,
        seed=config.seed,
    )
    objective = ExpertWeights(stack, _draw(names, config), config)
    task = TrainingExamples(train=tuple(examples))
    result, _ = Loop(objective, {UNIT: task}, settings, after_round=tell_step).run()[UNIT]
    return result


def _draw(names: Sequence[str], config: LorahubConfig) -> list[str]:
    if config.num_experts is None or config.num_experts >= len(names):
        return list(names)
    drawn = set(random.Random(config.seed).sample(list(names), config.num_experts))
    return [name for name in names if name in drawn]


class ExpertWeights:
    """What ``search_weights`` searches for, see ``lorary.training.loop.contract.Objective``.

    Args:
        stack: the experts on their model.
        names: those that take part.
        config: how to search.
    """

    def __init__(self, stack: ExpertStack, names: Sequence[str], config: LorahubConfig):
        self.stack, self.names, self.config = stack, names, config
        device = stack.model.device
        self.rows = ParameterRows(1, {"weights": [len(names)]}, device, has_gradients=False)
        self._places = torch.tensor([stack.index(name) for name in names], device=device)

    def start(self, name: str, slot: int, num_steps: int) -> WeightSearch:
        """Start with the base model alone: weights of zero."""
        config = self.config
        self._search = WeightSearch(
            self.rows.values[slot],
            num_steps,
            limit=config.limit,
            penalty=config.penalty,
            seed=config.seed,
        )
        return self._search

    def request(self, slot: int, example: TokenizedExample) -> int:
        """Route all examples alike: they are of one task."""
        return 0

    def routing(self, part: Pass) -> Chooser:
        """Add up the experts with the weights in the row."""
        return self.stack.plan(self._places[None], self.rows.values)

    def losses(self, part: Pass, examples: Sequence[TokenizedExample], chooser: Chooser | None) -> Tensor:
        """Give the negative log-likelihoods of the target tokens."""
        return score_pass(self.stack, part, chooser)

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Refuse a base model whose loss is not finite; weights under which it is not are the worst."""
        if math.isfinite(loss):
            return loss
        if step == 0:
            raise TrainingError(f"the {what} of the base model on these examples is {loss}")
        return WORST

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> LorahubResult:
        """Give the best weights that were tried."""
        weights = dict(zip(self.names, self._search.best.tolist(), strict=True))
        base_loss = progress.train_curve[0][1]
        return LorahubResult(weights=weights, loss=self._search.best_loss, base_loss=base_loss)

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Refuse any tensors: a search has none."""
        return f"a search has no tensors, found {quote(sorted(tensors), 60)}" if tensors else None
