"""LoraHub as an objective: weights of experts for a new task, found from a few examples without gradients.

The only unit is the new task; its row has the weights of the E experts that take part.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.errors import TrainingError
from lorary.experts.parts.low_rank_only import is_linear, refuse_kinds
from lorary.files import quote
from lorary.models import ExpertStack
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.training.example_checks import check_examples
from lorary.training.examples import TrainingExamples
from lorary.training.field_checks import count, not_negative, optional, positive, refuse_faults, whole
from lorary.training.folder.run_folder import RunFolder
from lorary.training.loop.contract import Objective
from lorary.training.loop.loop import Loop
from lorary.training.loop.rows import ParameterRows
from lorary.training.loop.settings import LoopSettings
from lorary.training.objectives.weight_search import WeightSearch
from lorary.training.progress import UnitProgress

UNIT = "the new task"
# The loss that replaces one that is not finite, since the search accepts finite numbers only.
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
    """The configuration of a search for weights."""

    num_experts: int | None = 20
    """Number of experts that take part, drawn at random as in the paper; None for all."""
    num_steps: int = 40
    """Number of weight vectors that are tried; the first has zeros, which is the base model alone."""
    limit: float = 1.5
    """Weights are between -limit and limit."""
    penalty: float = 0.05
    """Factor of the weights' mean absolute value, which is added to the loss."""
    tokens_per_pass: int = 2048
    """Maximum tokens in one forward pass, shared ones counted once."""
    row_length: int = 512
    """Length of the rows that examples are packed into (longer examples make longer rows)."""
    seed: int = 0
    """Seed of the draw of experts and of the search."""

    def __post_init__(self) -> None:
        refuse_faults("search for weights", self, _CHECKS)


@dataclass(frozen=True, kw_only=True)
class LorahubResult:
    """The result of a search for weights."""

    weights: dict[str, float]
    """Expert -> weight, for the experts that took part."""
    loss: float
    """Loss on the examples with these weights, nats per target token, without the penalty."""
    base_loss: float
    """Loss of the base model alone."""


def search_weights(
    stack: ExpertStack,
    names: Sequence[str],
    examples: Sequence[TokenizedExample],
    config: LorahubConfig | None = None,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> LorahubResult:
    """Search for weights of experts with the lowest loss on a few examples, by nevergrad's NGOpt.

    The model runs with the exact sum ``sum_e w_e b_e a_e``; nothing is merged. The weights can be used in a
    ``linear`` merge. (The paper's code sums ``a`` and ``b`` separately, which adds cross terms.) The best of
    all tried weights are returned.

    Args:
        stack: the experts on their model; it is not changed.
        names: the experts that may take part.
        examples: examples of the new task, at least one.
        config: the configuration; None for the defaults.
        on_step: called after each try with its number, from 1, and the lowest loss so far.

    Returns:
        The weights and their loss.

    Raises:
        ValueError: if there are no examples or experts, an expert is named twice, or the model cannot read an
            example.
        UnknownExpert: if an expert is not on the model.
        IncompatibleExpert: if an expert has other changes than weight changes of linear layers.
        TrainingError: if the base model's loss is not finite.

    Source: LoraHub, arXiv:2307.13269.
    """
    return search_with_progress(stack, names, examples, config or LorahubConfig(), on_step=on_step)[0]


def search_with_progress(
    stack: ExpertStack,
    names: Sequence[str],
    examples: Sequence[TokenizedExample],
    config: LorahubConfig,
    *,
    folder: RunFolder[LorahubResult] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[LorahubResult, UnitProgress]:
    """Search for weights as ``search_weights``, and return the curve of the tries too.

    Args:
        stack, names, examples, config, on_step: see ``search_weights``.
        folder: a run's folder, to resume from and to write the state to; None: none.
    """
    others = {name: own for name, own in stack.kinds.items() if name in names and not is_linear(own)}
    refuse_kinds(others, "LoraHub")
    if not examples or not names:
        raise ValueError(
            "a search for weights needs at least one example and one expert, found "
            f"{len(examples)} and {len(names)}"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"experts of a search for weights must differ, found {quote(list(names))}")
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
    return Loop(objective, {UNIT: task}, settings, folder=folder, after_round=tell_step).run()[UNIT]


def _draw(names: Sequence[str], config: LorahubConfig) -> list[str]:
    if config.num_experts is None or config.num_experts >= len(names):
        return list(names)
    drawn = set(random.Random(config.seed).sample(list(names), config.num_experts))
    return [name for name in names if name in drawn]


class ExpertWeights(Objective[LorahubResult]):
    """The objective of ``search_weights``, see ``lorary.training.loop.contract.Objective``.

    Args:
        stack: the experts on their model.
        names: the experts that take part.
        config: the configuration.
    """

    def __init__(self, stack: ExpertStack, names: Sequence[str], config: LorahubConfig):
        self.stack, self.names, self.config = stack, names, config
        device = stack.model.device
        self.rows = ParameterRows(1, {"weights": [len(names)]}, device, has_gradients=False)
        self._places = torch.tensor([stack.index(name) for name in names], device=device)

    def start(self, name: str, slot: int, num_steps: int) -> WeightSearch:
        """Start with weights of zero, which is the base model alone."""
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
        """Return 0: all examples use the same experts."""
        return 0

    def routing(self, part: Pass) -> Chooser:
        """Return the chooser of the experts with the weights in the row."""
        # All weights may be 0, but the general expert of experts that build on one is active all the same.
        return self.stack.plan(self._places[None], self.rows.values, general=torch.tensor([True]))

    def check_loss(self, name: str, what: str, loss: float, step: int) -> float:
        """Check that the base model's loss is finite; replace another one that is not by ``WORST``."""
        if math.isfinite(loss):
            return loss
        if step == 0:
            raise TrainingError(
                f"the {what} of the base model on these examples must be finite, found {loss}: check the "
                "examples and the base model"
            )
        return WORST

    def export(self, name: str, values: Tensor, progress: UnitProgress) -> LorahubResult:
        """Return the best weights that were tried."""
        weights = dict(zip(self.names, self._search.best.tolist(), strict=True))
        base_loss = progress.train_curve[0][1]
        return LorahubResult(weights=weights, loss=self._search.best_loss, base_loss=base_loss)

    def find_optimizer_fault(self, tensors: Mapping[str, Tensor], num_steps: int) -> str | None:
        """Describe the fault if there are any tensors, since a search has none."""
        return f"a search must have no tensors, found {quote(sorted(tensors), 60)}" if tensors else None
