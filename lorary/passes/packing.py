"""Arranging token sequences in rows: several in a row with little padding, or one per row.

A *cell* is a position in a row; the model computes every cell. Sequences of one group share the cells of
shared prefixes. Thus a task's definition, or a question before its choices, is computed once. A row is then a
forest of prefix trees, and a cell attends to its ancestors only. The last token of a sequence has no cell,
because it predicts nothing.

B rows, L row length, N target positions.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from lorary.data.tokens import TokenizedExample
from lorary.models.routing_context import PADDING
from lorary.passes.prefixes import TokenIds, cut_pieces, measure_overlap, read_tokens


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences arranged for one forward pass; call the model with ``model_inputs()``.

    Packed rows without shared cells need no ``attention_mask`` if ``transformers`` detects the beginnings of
    sequences by ``position_ids``. It does so only without a mask and without a cache. Padding at the end of a
    packed row is one more sequence, without an owner.
    """

    input_ids: Tensor
    """Token ids, ``[B, L]``."""
    position_ids: Tensor | None
    """Position of each cell in its own sequence, ``[B, L]``; None if each row has one sequence."""
    owner: Tensor
    """The sequence of each cell, ``[B, L]``: the first one if several share it; -1 for padding."""
    uses: Tensor
    """The number of sequences that each cell belongs to, ``[B, L]``; 0 for padding."""
    labels: Tensor
    """The tokens to be predicted, ``[N]``: the targets of all sequences in order."""
    label_owner: Tensor
    """The sequence of each label, ``[N]``."""
    positions: Tensor
    """The cell that predicts each label, ``[N]``, as an index among the B×L; several labels may share one."""
    attention_mask: Tensor | None
    """``[B, 1, L, L]``: True where a cell (third index) attends to another (fourth). If each row has one
    sequence, ``[B, L]``: True at tokens. None if no mask is needed."""

    def model_inputs(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor | bool]:
        """Return the keyword arguments for a ``transformers`` model whose weights have this dtype."""
        inputs: dict[str, Tensor | bool] = {"input_ids": self.input_ids, "use_cache": False}
        if self.position_ids is not None:
            inputs["position_ids"] = self.position_ids
        if self.attention_mask is not None and self.attention_mask.dim() == 2:
            inputs["attention_mask"] = self.attention_mask.long()
        elif self.attention_mask is not None:
            # As numbers to be added to scores: eager attention and the fused kernels both accept this form.
            unseen = torch.zeros(self.attention_mask.shape, dtype=dtype, device=self.input_ids.device)
            inputs["attention_mask"] = unseen.masked_fill_(~self.attention_mask, torch.finfo(dtype).min)
        return inputs

    @property
    def decoder_uses(self) -> None:
        """There is no separate decoder."""

    def inputs_for(self, model: PreTrainedModel) -> dict[str, Tensor | bool]:
        """Return the keyword arguments for a ``transformers`` model."""
        return self.model_inputs(model.dtype)

    def to(self, device: torch.device | str) -> "Batch":
        """Move all tensors to a device."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return replace(self, **{name: part.to(device) for name, part in parts.items() if part is not None})


def pack_sequences(
    sequences: Sequence[TokenizedExample],
    row_length: int,
    padding_id: int | None = None,
    groups: Sequence[Hashable] | None = None,
    *,
    always_mask: bool = False,
) -> Batch:
    """Pack tokenised examples into few rows (by first-fit decreasing), of nearly equal length.

    Args:
        sequences: prompts with their targets.
        row_length: L; it is raised to the length of the longest sequence if necessary.
        padding_id: any valid token id. None: a token of the sequences, because the embedding of a padding
            token may be zero, where norms have no gradient.
        groups: the group of each sequence; sequences of one group share the cells of shared prefixes.
            Everything else that the model's output depends on, such as the experts, must be equal within a
            group. None: nothing is shared.
        always_mask: make a mask even if no cell is shared.

    Raises:
        ValueError: if there is no sequence, or one has no prompt.
    """
    _check_sequences(sequences)
    tokens = [read_tokens(sequence) for sequence in sequences]
    pieces = cut_pieces(tokens, groups, row_length)
    rows = _balance_rows([piece.num_cells for piece in pieces], row_length)
    members = [[pieces[index].members for index in row] for row in rows]
    length = max(sum(pieces[index].num_cells for index in row) for row in rows)
    padding_id = tokens[0][0] if padding_id is None else padding_id
    return _Builder(sequences, tokens, len(rows), length, padding_id).build(members, always_mask)


def pad_sequences(sequences: Sequence[TokenizedExample], padding_id: int | None = None) -> Batch:
    """Put each tokenised example into its own row, padded on the right, where no token attends to padding.

    Args:
        sequences: prompts with their targets.
        padding_id: any valid token id; None: a token of the sequences, see ``pack_sequences``.

    Raises:
        ValueError: if there is no sequence, or one has no prompt.
    """
    _check_sequences(sequences)
    tokens = [torch.tensor(read_tokens(sequence)) for sequence in sequences]
    lengths = torch.tensor([len(ids) for ids in tokens])
    length = int(lengths.max())
    padding_id = int(tokens[0][0]) if padding_id is None else padding_id
    mask = torch.arange(length) < lengths[:, None]  # [B, L]
    numbers = torch.arange(len(sequences))
    first = torch.tensor([len(sequence.prompt_ids) - 1 for sequence in sequences])
    is_target = mask & (torch.arange(length) >= first[:, None])
    return Batch(
        input_ids=pad_sequence(tokens, batch_first=True, padding_value=padding_id),
        position_ids=None,
        owner=numbers[:, None].where(mask, PADDING),
        uses=mask.long(),
        labels=_list_labels(sequences),
        label_owner=numbers.repeat_interleave(is_target.sum(1)),
        positions=is_target.flatten().nonzero().squeeze(1),
        attention_mask=None if mask.all() else mask,
    )


def _check_sequences(sequences: Sequence[TokenizedExample]) -> None:
    if not sequences:
        raise ValueError("there must be at least one sequence, found none")
    for index, sequence in enumerate(sequences):
        if not sequence.prompt_ids:
            raise ValueError(
                f"sequence {index} must have a prompt of at least one token, which predicts its first target"
            )


def _list_labels(sequences: Sequence[TokenizedExample]) -> Tensor:
    return torch.tensor([token for sequence in sequences for token in sequence.target_ids], dtype=torch.long)


class _Builder:
    """Fills rows with cells, one sequence after the other."""

    def __init__(
        self,
        sequences: Sequence[TokenizedExample],
        tokens: Sequence[TokenIds],
        num_rows: int,
        length: int,
        padding_id: int,
    ):
        self.sequences, self.tokens, self.length = sequences, tokens, length
        self.input_ids = torch.full((num_rows, length), padding_id)
        self.position_ids = torch.zeros(num_rows, length, dtype=torch.long)
        self.owner = torch.full((num_rows, length), PADDING)
        self.uses = torch.zeros(num_rows, length, dtype=torch.long)
        # [B, L, L]; padding attends to itself, since a row of the mask without True gives NaN.
        self.sees = torch.eye(length, dtype=torch.bool).repeat(num_rows, 1, 1)
        self.positions: list[list[int]] = [[] for _ in sequences]
        self.is_shared = False

    def build(self, rows: Sequence[Sequence[Sequence[int]]], always_mask: bool) -> Batch:
        for row, pieces in enumerate(rows):
            start = 0
            for members in pieces:
                start = self._place_piece(row, start, members)
            self.position_ids[row, start:] = torch.arange(self.length - start)
        counts = torch.tensor([len(sequence.target_ids) for sequence in self.sequences])
        return Batch(
            self.input_ids,
            self.position_ids,
            self.owner,
            self.uses,
            _list_labels(self.sequences),
            torch.arange(len(self.sequences)).repeat_interleave(counts),
            torch.tensor([cell for cells in self.positions for cell in cells], dtype=torch.long),
            self.sees.unsqueeze(1) if self.is_shared or always_mask else None,
        )

    def _place_piece(self, row: int, start: int, members: Sequence[int]) -> int:
        """Place sequences that share prefixes, each after the one with which it shares most.

        Returns:
            The first free cell of the row.
        """
        path: list[int] = []  # the cells of the current sequence, shared ones included
        before: TokenIds = ()
        for index in members:
            tokens = self.tokens[index]
            shared = measure_overlap(before, tokens)
            end = start + len(tokens) - shared
            path = [*path[:shared], *range(start, end)]
            self.input_ids[row, start:end] = torch.tensor(tokens[shared:])
            self.position_ids[row, start:end] = torch.arange(shared, len(tokens))
            self.owner[row, start:end] = index
            self.uses[row, path] += 1
            self.sees[row, start:end, path[:shared]] = True
            self.sees[row, start:end, start:end] = torch.ones(
                end - start, end - start, dtype=torch.bool
            ).tril()
            first = len(self.sequences[index].prompt_ids) - 1
            self.positions[index] = [row * self.length + cell for cell in path[first:]]
            self.is_shared = self.is_shared or shared > 0
            start, before = end, tokens
        return start


def _balance_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Return the sequences of each row: few rows, as short as their number allows."""
    rows = _fill_rows(lengths, row_length)
    shortest = max(max(lengths), -(-sum(lengths) // len(rows)))
    for length in range(shortest, row_length, max(1, row_length // 32)):
        found = _fill_rows(lengths, length)
        if len(found) <= len(rows):
            return found
    return rows


def _fill_rows(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Return the sequences of each row, by first-fit decreasing: the longest first, each to the first fit."""
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
