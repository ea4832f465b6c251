"""Arranging prompts in the rows of an encoder, and their targets in the rows of a decoder, both padded.

B rows, L prompt length, D target length, N target positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from lorary.data.tokens import TokenizedExample
from lorary.models.architecture import NO_LABEL, shift_right
from lorary.models.routing_context import PADDING


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """Tokenised examples of one forward pass; call the model with ``inputs_for(model)``.

    An encoder has a mask for padding. A decoder needs none, since no token attends to later ones.
    """

    input_ids: Tensor
    """The prompts, ``[B, L]``."""
    attention_mask: Tensor
    """True at tokens of prompts, ``[B, L]``."""
    owner: Tensor
    """The sequence of each cell of the prompts, ``[B, L]``; -1 for padding."""
    targets: Tensor
    """The targets, ``[B, D]``, padded by -100."""
    labels: Tensor
    """The tokens to be predicted, ``[N]``: the targets of all sequences in order."""
    label_owner: Tensor
    """The sequence of each label, ``[N]``."""
    positions: Tensor
    """The decoder's cell that predicts each label, ``[N]``, as an index among the B×D."""

    position_ids = None
    """Each row has one sequence."""

    @property
    def uses(self) -> Tensor:
        """1 for each token of the prompts and 0 for padding, ``[B, L]``."""
        return self.attention_mask.long()

    @property
    def decoder_uses(self) -> Tensor:
        """1 for each token that the decoder reads and 0 for padding, ``[B, D]``."""
        return (self.targets != NO_LABEL).long()

    def inputs_for(self, model: PreTrainedModel) -> dict[str, Tensor | bool]:
        """Return the keyword arguments for a ``transformers`` model with an encoder and a decoder."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask.long(),
            "decoder_input_ids": shift_right(model, self.targets),
            "use_cache": False,
        }

    def to(self, device: torch.device | str) -> "EncodedBatch":
        """Move all tensors to a device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})


def encode_sequences(sequences: Sequence[TokenizedExample], padding_id: int = 0) -> EncodedBatch:
    """Put the prompt and the target of each tokenised example into their own rows, padded on the right.

    Args:
        sequences: prompts with their targets.
        padding_id: any valid token id.

    Raises:
        ValueError: if there is no sequence, or one has no prompt or no target.
    """
    if not sequences or not all(each.prompt_ids and each.target_ids for each in sequences):
        raise ValueError("there must be at least one sequence, each with a prompt and a target")
    prompts = [torch.tensor(sequence.prompt_ids) for sequence in sequences]
    answers = [torch.tensor(sequence.target_ids) for sequence in sequences]
    lengths = torch.tensor([len(ids) for ids in prompts])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]  # [B, L]
    targets = pad_sequence(answers, batch_first=True, padding_value=NO_LABEL)
    numbers = torch.arange(len(sequences))
    return EncodedBatch(
        input_ids=pad_sequence(prompts, batch_first=True, padding_value=padding_id),
        attention_mask=mask,
        owner=numbers[:, None].where(mask, PADDING),
        targets=targets,
        labels=torch.cat(answers),
        label_owner=numbers.repeat_interleave(torch.tensor([len(ids) for ids in answers])),
        positions=(targets != NO_LABEL).flatten().nonzero().squeeze(1),
    )


def group_encoded(sequences: Sequence[TokenizedExample], max_cells: int) -> list[list[int]]:
    """Divide sequences into passes of at most ``max_cells`` cells of encoder and decoder, with padding.

    Returns:
        The indices of the sequences of each pass, short prompts first; one longer than ``max_cells`` runs
        alone.
    """
    sizes = [(len(sequence.prompt_ids), len(sequence.target_ids)) for sequence in sequences]
    passes: list[list[int]] = []
    widest = 0
    for index in sorted(range(len(sizes)), key=sizes.__getitem__):
        prompt, target = sizes[index]
        widest = max(widest, target)
        if not passes or (len(passes[-1]) + 1) * (prompt + widest) > max_cells:
            passes.append([])
            widest = target
        passes[-1].append(index)
    return passes
