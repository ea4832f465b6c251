"""LoraHub: weights of experts for a new task, found from a few examples without gradients.

E experts that take part, B rows, L row length.
"""

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray

from lorary.data.tokens import TokenizedExample
from lorary.errors import TrainingError
from lorary.files import quote
from lorary.models import ExpertStack, target_losses
from lorary.passes import find_layout
from lorary.passes.packing import pack_sequences
from lorary.passes.prefixes import plan_passes
from lorary.training.example_checks import check_examples
from lorary.training.field_checks import count, find_field_faults, not_negative, optional, positive, whole

Weights = NDArray[np.float64]

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
    check_examples("the new task", examples, stack.model)
    chosen = _draw(names, config)
    places = [stack.index(name) for name in chosen]
    search = _Search(stack, places, examples, config)
    tried: list[tuple[float, float, Weights]] = []  # with the penalty, without it, weights
    for weights in _propose(len(chosen), config, lambda: tried[-1][0]):
        loss = search.measure(weights)
        if not tried and not isfinite(loss):
            raise TrainingError(f"the loss of the base model on these examples is {loss}")
        tried.append((loss + config.penalty * float(np.abs(weights).mean()), loss, weights))
        if on_step is not None:
            on_step(len(tried), min(row[1] for row in tried))
    _, loss, weights = min(tried, key=lambda row: row[0])
    found = dict(zip(chosen, weights.tolist(), strict=True))
    return LorahubResult(weights=found, loss=loss, base_loss=tried[0][1])


def _draw(names: Sequence[str], config: LorahubConfig) -> list[str]:
    if config.num_experts is None or config.num_experts >= len(names):
        return list(names)
    drawn = set(random.Random(config.seed).sample(list(names), config.num_experts))
    return [name for name in names if name in drawn]


def _propose(size: int, config: LorahubConfig, last_score: Callable[[], float]) -> Iterator[Weights]:
    """Yield weights to try, first zeros; asks for the score of each before the next."""
    # Imported here: slow, and needed for this search only.
    import nevergrad

    yield np.zeros(size)
    if config.num_steps == 1:
        return
    with _quiet():
        space = nevergrad.p.Array(init=np.zeros(size)).set_bounds(-config.limit, config.limit)
        space.random_state.seed(config.seed)
        optimizer = nevergrad.optimizers.NGOpt(parametrization=space, budget=config.num_steps - 1)
    for _ in range(config.num_steps - 1):
        with _quiet():
            candidate = optimizer.ask()
        yield np.array(candidate.value)
        score = last_score()
        with _quiet():
            # The optimiser takes numbers only: what broke down is as bad as can be.
            optimizer.tell(candidate, score if isfinite(score) else 1e9)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the optimiser's notes on its own settings from users, who cannot change them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Search:
    """The examples, packed once, and the model."""

    def __init__(
        self,
        stack: ExpertStack,
        places: Sequence[int],
        examples: Sequence[TokenizedExample],
        config: LorahubConfig,
    ):
        self.stack = stack
        self.places = torch.tensor(places, device=stack.model.device)
        longest = max(len(example) for example in examples)
        # All are of one task and go one way: they may share what they begin with.
        groups = [0] * len(examples) if find_layout(stack, longest, config.row_length).shares else None
        self.batches = [
            pack_sequences(
                [examples[index] for index in members],
                config.row_length,
                groups=None if groups is None else [0] * len(members),
            ).to(stack.model.device)
            for members in plan_passes(examples, groups, config.tokens_per_pass)
        ]

    @torch.inference_mode()
    def measure(self, weights: Weights) -> float:
        """Compute the mean loss of the target tokens under these weights ``[E]``."""
        total, count = 0.0, 0
        given = torch.tensor(weights, dtype=torch.float32, device=self.places.device)
        for batch in self.batches:
            # All examples are of one task, and go one way.
            rows = batch.owner.clamp(max=0)
            with self.stack.planned(self.places[None], given[None], rows=rows):
                inputs = batch.model_inputs(self.stack.model.dtype)
                losses = target_losses(self.stack.model, inputs, batch.positions, batch.labels)
            total += float(losses.double().sum())
            count += len(losses)
        return total / count
