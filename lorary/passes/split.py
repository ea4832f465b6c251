"""Dividing sequences into forward passes.

P sequences of a pass, B rows, L row length, N target positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.models.routing_context import PADDING
from lorary.passes.encoded import EncodedBatch, encode_sequences, group_encoded
from lorary.passes.layout import Layout
from lorary.passes.packing import Batch, pack_sequences, pad_sequences
from lorary.passes.prefixes import group_padded, plan_passes


@dataclass(frozen=True, eq=False)
class Pass:
    """Sequences that run through the model together."""

    members: Tensor
    """Indices of the sequences among all given ones, ``[P]``."""
    requests: Tensor
    """The request of each sequence, ``[P]``; a chooser's ``rows``."""
    batch: Batch | EncodedBatch
    """The sequences arranged in rows; its ``owner`` has indices into ``members``."""

    @property
    def rows(self) -> Tensor:
        """The request of each cell, ``[B, L]``; -1 for padding."""
        owner = self.batch.owner
        return self.requests[owner.clamp(min=0)].where(owner != PADDING, PADDING)

    @property
    def call_rows(self) -> Tensor:
        """The same as an argument of a call: ``[B]`` if each row of the batch is one sequence."""
        return self.requests if self.batch.position_ids is None else self.rows

    @property
    def sequence(self) -> Tensor:
        """Index, among all given sequences, of each target token's sequence, ``[N]``."""
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
    """Divide sequences into passes; each batch is built when it is needed.

    Args:
        sequences: prompts with their targets.
        requests: the request of each sequence, from 0. Sequences of one request use the same experts. If
            ``layout`` shares prefixes, theirs are shared; so a chooser's choice for a token may depend
            only on the request and on the tokens up to that token.
        layout: an exact layout on the model, from ``find_layout``.
        tokens_per_pass: maximum number of cells of a pass, shared cells counted once; a longer sequence runs
            alone.
        row_length: length of packed rows; it is raised to that of the longest sequence of a pass.
        device: of the passes' tensors.

    Yields:
        Passes, which together have each sequence once.

    Raises:
        ValueError: if a sequence has no prompt, or no target though an encoder reads the prompt.
    """
    groups = requests if layout.shares else None
    match layout:
        case Layout.ALONE | Layout.ENCODED_ALONE:
            plan = [[index] for index in range(len(sequences))]
        case Layout.PADDED:
            plan = group_padded(sequences, tokens_per_pass)
        case Layout.ENCODED:
            plan = group_encoded(sequences, tokens_per_pass)
        case _:
            plan = plan_passes(sequences, groups, tokens_per_pass)
    for members in plan:
        chosen = [sequences[index] for index in members]
        batch: Batch | EncodedBatch
        if layout.is_encoded:
            batch = encode_sequences(chosen)
        elif layout in (Layout.ALONE, Layout.PADDED):
            batch = pad_sequences(chosen)
        else:
            shared = None if groups is None else [groups[index] for index in members]
            batch = pack_sequences(chosen, row_length, groups=shared, always_mask=layout is Layout.MASKED)
        own = torch.tensor([requests[index] for index in members])
        yield Pass(torch.tensor(members).to(device), own.to(device), batch.to(device))


def read_whole(prompt: Sequence[int]) -> TokenizedExample:
    """Make a sequence in which every token of a prompt has a cell and is a target position.

    It serves to read activations. Its labels are not meaningful: the last one is 0.

    Args:
        prompt: token ids, at least one.
    """
    return TokenizedExample(tuple(prompt[:1]), (*prompt[1:], 0))
