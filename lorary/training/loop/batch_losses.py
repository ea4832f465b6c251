"""The losses of units' batches, computed in as many passes as they need.

N target tokens of a pass, S slots.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.passes import find_layout, split_passes
from lorary.passes.split import Pass
from lorary.routing import Chooser
from lorary.training.loop.contract import Objective
from lorary.training.loop.settings import LoopSettings

Batches = Mapping[int, Sequence[TokenizedExample]]
"""Slot -> examples of its unit."""


class _PassLosses(NamedTuple):
    chooser: Chooser | None
    losses: Tensor
    """Loss of each target token, ``[N]``."""
    slots: Tensor
    """Slot of each token, ``[N]``."""
    shares: Tensor
    """Weight of each token in its slot's mean, ``[N]``."""


class BatchLosses:
    """Runs the batches of several units in common passes, each example with its own unit's experts.

    Args:
        objective: the objective.
        settings: the loop's settings.
        longest: number of tokens of the longest example.
    """

    def __init__(self, objective: Objective[Any], settings: LoopSettings, longest: int):
        self.objective, self.settings = objective, settings
        self.layout = objective.layout or find_layout(objective.stack, longest, settings.row_length)

    def add_gradients(self, batches: Batches, after_pass: Callable[[], None]) -> dict[int, float]:
        """Add the gradient of each slot's mean loss, and of the objective's penalty, to its row.

        Args:
            batches: slot -> examples.
            after_pass: called after each pass.

        Returns:
            Slot -> mean loss, without the penalty.
        """
        rows = self.objective.rows
        if not rows.has_gradients:
            return self.measure(batches, after_pass)
        losses = dict.fromkeys(batches, 0.0)
        passes = list(self._split(_list_work(batches)))
        self.objective.survey(passes)
        for part in self._run(batches, passes):
            parts = part.shares * part.losses
            penalty = self.objective.penalty(part.chooser)
            rows.add_gradients(parts.sum() if penalty is None else parts.sum() + penalty)
            sums = torch.zeros(rows.num_slots, device=parts.device).index_add_(0, part.slots, parts.detach())
            for slot in set(part.slots.tolist()):
                losses[slot] += float(sums[slot])
            after_pass()
        return losses

    @torch.no_grad()
    def measure(self, batches: Batches, after_pass: Callable[[], None] = lambda: None) -> dict[int, float]:
        """Return each slot's mean loss, without gradients."""
        sums = dict.fromkeys(batches, 0.0)
        for part in self._run(batches, self._split(_list_work(batches))):
            for slot, loss in zip(part.slots.tolist(), part.losses.tolist(), strict=True):
                sums[slot] += loss
            after_pass()
        counts = _count_targets(batches)
        return {slot: total / counts[slot] for slot, total in sums.items()}

    def _run(self, batches: Batches, passes: Iterable[Pass]) -> Iterator[_PassLosses]:
        counts, work = _count_targets(batches), _list_work(batches)
        slots = torch.tensor([slot for slot, _ in work])
        shares = torch.tensor([1.0 / counts[slot] for slot, _ in work])
        for part in passes:
            examples = [work[index][1] for index in part.members.tolist()]
            chooser = self.objective.routing(part)
            losses = self.objective.losses(part, examples, chooser)
            sequence = part.sequence.to(slots.device)
            yield _PassLosses(
                chooser, losses, slots[sequence].to(losses.device), shares[sequence].to(losses.device)
            )

    def _split(self, work: Sequence[tuple[int, TokenizedExample]]) -> Iterator[Pass]:
        return split_passes(
            [example for _, example in work],
            [self.objective.request(slot, example) for slot, example in work],
            self.layout,
            tokens_per_pass=self.settings.tokens_per_pass,
            row_length=self.settings.row_length,
            device=self.objective.stack.model.device,
        )


def _list_work(batches: Batches) -> list[tuple[int, TokenizedExample]]:
    return [(slot, example) for slot, examples in batches.items() for example in examples]


def _count_targets(batches: Batches) -> dict[int, int]:
    return {slot: sum(len(example.target_ids) for example in batch) for slot, batch in batches.items()}
