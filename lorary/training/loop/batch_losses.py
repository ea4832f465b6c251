"""The losses of units' batches, over as many passes as they need.

N target tokens of a pass, S slots.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.passes import Pass, find_layout, split_passes
from lorary.training.loop.contract import Objective
from lorary.training.loop.settings import LoopSettings

Batches = Mapping[int, Sequence[TokenizedExample]]
"""Slot -> examples of the unit in it."""


class _PassLosses(NamedTuple):
    losses: Tensor
    """Of each target token, ``[N]``."""
    slots: Tensor
    """The slot that each belongs to, ``[N]``."""
    shares: Tensor
    """What each weighs in its slot's mean, ``[N]``."""


class BatchLosses:
    """Runs batches of several units side by side, each example under its own unit's routing.

    Args:
        objective: what is trained.
        settings: the loop's.
        longest: tokens of the longest example.
    """

    def __init__(self, objective: Objective[Any], settings: LoopSettings, longest: int):
        self.objective, self.settings = objective, settings
        self.layout = find_layout(objective.stack, longest, settings.row_length)

    def add_gradients(self, batches: Batches, after_pass: Callable[[], None]) -> dict[int, float]:
        """Add the gradients of each slot's mean loss to its row; returns these losses.

        Args:
            batches: slot -> examples.
            after_pass: called after each pass.
        """
        rows = self.objective.rows
        if not rows.has_gradients:
            return self.measure(batches, after_pass)
        losses = dict.fromkeys(batches, 0.0)
        for part in self._run(batches):
            parts = part.shares * part.losses
            rows.add_gradients(parts.sum())
            sums = torch.zeros(rows.num_slots, device=parts.device).index_add_(0, part.slots, parts.detach())
            for slot in set(part.slots.tolist()):
                losses[slot] += float(sums[slot])
            after_pass()
        return losses

    @torch.no_grad()
    def measure(self, batches: Batches, after_pass: Callable[[], None] = lambda: None) -> dict[int, float]:
        """Measure each slot's mean loss."""
        sums = dict.fromkeys(batches, 0.0)
        for part in self._run(batches):
            for slot, loss in zip(part.slots.tolist(), part.losses.tolist(), strict=True):
                sums[slot] += loss
            after_pass()
        counts = _count_targets(batches)
        return {slot: total / counts[slot] for slot, total in sums.items()}

    def _run(self, batches: Batches) -> Iterator[_PassLosses]:
        counts = _count_targets(batches)
        work = [(slot, example) for slot, examples in batches.items() for example in examples]
        slots = torch.tensor([slot for slot, _ in work])
        shares = torch.tensor([1.0 / counts[slot] for slot, _ in work])
        for part in self._split(work):
            examples = [work[index][1] for index in part.members.tolist()]
            losses = self.objective.losses(part, examples, self.objective.routing(part))
            sequence = part.sequence.to(slots.device)
            yield _PassLosses(losses, slots[sequence].to(losses.device), shares[sequence].to(losses.device))

    def _split(self, work: Sequence[tuple[int, TokenizedExample]]) -> Iterator[Pass]:
        return split_passes(
            [example for _, example in work],
            [self.objective.request(slot, example) for slot, example in work],
            self.layout,
            tokens_per_pass=self.settings.tokens_per_pass,
            row_length=self.settings.row_length,
            device=self.objective.stack.model.device,
        )


def _count_targets(batches: Batches) -> dict[int, int]:
    return {slot: sum(len(example.target_ids) for example in batch) for slot, batch in batches.items()}
