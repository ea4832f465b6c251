"""Putting token sequences of different lengths side by side in rows, with hardly any padding.

B rows, L row length, N target positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.data.tokens import TokenizedExample

PADDING = -1


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """Several sequences per row; each begins where ``position_ids`` is 0, and attends to itself alone.

    ``transformers`` reads the beginnings from ``position_ids``, but only if it gets neither an attention mask
    nor a cache: call the model with ``model_inputs()``. Padding at a row's end is one more sequence, owned by
    nobody.
    """

    input_ids: Tensor
    """Token ids, ``[B, L]``."""
    position_ids: Tensor
    """Each token's place in its own sequence, ``[B, L]``."""
    owner: Tensor
    """Which of the given sequences a token belongs to, ``[B, L]``; -1 for padding."""
    predicts: Tensor
    """True where the *next* token is a target, so where logits are wanted, ``[B, L]``; N times true."""
    labels: Tensor
    """The token to be predicted there, ``[N]``, rows in order."""

    @property
    def label_owner(self) -> Tensor:
        """Which sequence each label belongs to, ``[N]``."""
        return self.owner[self.predicts]

    def model_inputs(self) -> dict[str, Tensor | bool]:
        """Give the keyword arguments for a ``transformers`` model."""
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "use_cache": False}

    @property
    def num_tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.owner != PADDING).sum())

    def to(self, device: torch.device | str) -> "PackedBatch":
        """Move all tensors to a device."""
        return PackedBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def pack_sequences(
    sequences: Sequence[TokenizedExample], row_length: int, padding_id: int = 0
) -> PackedBatch:
    """Pack tokenised examples into as few rows as first-fit decreasing needs.

    Args:
        sequences: prompts with their targets.
        row_length: L, raised to the longest sequence if that is longer.
        padding_id: any valid token id.

    Returns:
        The batch; ``owner`` says where each sequence went.

    Raises:
        ValueError: if there is no sequence, or one has no prompt.
    """
    if not sequences:
        raise ValueError("there is no sequence to pack")
    rows = _fill_rows([len(sequence) for sequence in sequences], row_length)
    length = max(sum(len(sequences[i]) for i in row) for row in rows)
    input_ids = torch.full((len(rows), length), padding_id)
    position_ids = torch.zeros(len(rows), length, dtype=torch.long)
    owner = torch.full((len(rows), length), PADDING)
    predicts = torch.zeros(len(rows), length, dtype=torch.bool)
    labels: list[int] = []
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            prompt, target = sequences[i].prompt_ids, sequences[i].target_ids
            if not prompt:
                raise ValueError(f"sequence {i} has no prompt: its first target token could not be predicted")
            end = start + len(prompt) + len(target)
            input_ids[r, start:end] = torch.tensor([*prompt, *target])
            position_ids[r, start:end] = torch.arange(end - start)
            owner[r, start:end] = i
            predicts[r, start + len(prompt) - 1 : end - 1] = True
            labels.extend(target)
            start = end
        position_ids[r, start:] = torch.arange(length - start)
    return PackedBatch(input_ids, position_ids, owner, predicts, torch.tensor(labels, dtype=torch.long))


def split_passes(lengths: Sequence[int], max_tokens: int) -> Iterator[slice]:
    """Cut sequences into runs of neighbours, each of at most ``max_tokens`` tokens.

    Args:
        lengths: tokens per sequence.
        max_tokens: what one forward pass may hold; a single longer sequence runs alone.
    """
    start, total = 0, 0
    for index, length in enumerate(lengths):
        if index > start and total + length > max_tokens:
            yield slice(start, index)
            start, total = index, 0
        total += length
    if start < len(lengths):
        yield slice(start, len(lengths))


def _fill_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """First-fit decreasing: the longest first, each into the first row that has room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((row for row, free in enumerate(room) if lengths[index] <= free), None)
        if place is None:
            place = len(rows)
            rows.append([])
            room.append(max(row_length, lengths[index]))
        rows[place].append(index)
        room[place] -= lengths[index]
    return rows
