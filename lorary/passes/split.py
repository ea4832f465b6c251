"""Dividing sequences into forward passes.

P sequences of a pass, B rows, L row length, N target positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.models.routing_context import PADDING
from lorary.passes.layout import Layout
from lorary.passes.packing import Batch, pack_sequences, pad_sequences
from lorary.passes.prefixes import group_padded, plan_passes


@dataclass(frozen=True, eq=False)
class Pass:
    """Sequences that run through the model together."""

    members: Tensor
    """Which of the given sequences these are, ``[P]``."""
    requests: Tensor
    """The request of each, ``[P]``: what a chooser calls ``rows``."""
    batch: Batch
    """How they are laid out; its owners are places among ``members``."""

    @property
    def rows(self) -> Tensor:
        """The request of each cell, ``[B, L]``; -1 for padding."""
        owner = self.batch.owner
        return self.requests[owner.clamp(min=0)].where(owner != PADDING, PADDING)

    @property
    def call_rows(self) -> Tensor:
        """The same as a call of the model is told: ``[B]`` where each row of the batch is one sequence."""
        return self.requests if self.batch.position_ids is None else self.rows

    @property
    def sequence(self) -> Tensor:
        """Which of the given sequences each target token belongs to, ``[N]``."""
        return self.members[self.batch.label_owner]


def split_passes(
    sequences: Sequence[TokenizedExample],
    requests: Sequence[int],
    layout: Layout,
    *,
    tokens_per_pass: int,
    row_length: int,
    device: torch.device | str = "cpu",
) -> Iterator[Pass]:
    """Divide sequences into passes, and build each batch when it is needed.

    Args:
        sequences: prompts with their targets.
        requests: the request of each sequence, from 0. Those of one request are answered alike, so where
            ``layout`` shares beginnings they share them: whatever a chooser makes a choice depend on besides
            the tokens before must be equal for them.
        layout: what is exact on the model, see ``find_layout``.
        tokens_per_pass: most cells of a pass (shared ones count once); a longer sequence runs alone.
        row_length: of packed rows, raised to the longest sequence of a pass.
        device: where the passes' tensors go.

    Yields:
        Each sequence in one of the passes.

    Raises:
        ValueError: if a sequence has no prompt.
    """
    groups = requests if layout.shares else None
    match layout:
        case Layout.ALONE:
            plan = [[index] for index in range(len(sequences))]
        case Layout.PADDED:
            plan = group_padded(sequences, tokens_per_pass)
        case _:
            plan = plan_passes(sequences, groups, tokens_per_pass)
    for members in plan:
        chosen = [sequences[index] for index in members]
        if layout in (Layout.ALONE, Layout.PADDED):
            batch = pad_sequences(chosen)
        else:
            shared = None if groups is None else [groups[index] for index in members]
            batch = pack_sequences(chosen, row_length, groups=shared, always_mask=layout is Layout.MASKED)
        own = torch.tensor([requests[index] for index in members])
        yield Pass(torch.tensor(members).to(device), own.to(device), batch.to(device))


def read_whole(prompt: Sequence[int]) -> TokenizedExample:
    """Make a sequence in which every token of a prompt is a target position, to read activations.

    Its labels mean nothing: the last one is 0.

    Args:
        prompt: token ids, at least one.
    """
    return TokenizedExample(tuple(prompt[:1]), (*prompt[1:], 0))
