"""Prompts as the base model reads them in one pass, and the prompt that each cell belongs to.

A cell is one position of the batch: a row and a column of ``input_ids``.
B rows, L row length, P prompts, N tokens of all prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """Prompts of one pass. A row may have padding, several prompts, or shared prefixes of prompts."""

    inputs: Mapping[str, Any]
    """Keyword arguments of a ``transformers`` model, including ``input_ids [B, L]``."""
    cells: Tensor
    """The cell of each token, ``[N]``, as an index among the B×L; one prompt after the other."""
    owner: Tensor
    """The prompt of each token, ``[N]``, from 0 to P - 1 in ascending order."""
    count: int
    """Number of prompts, P; each has at least one token."""

    def weigh_cells(
        self, skip_first: bool, last_share: float = 0.0, most_tokens: int | None = None
    ) -> Tensor:
        """Return the matrix ``[P, B×L]`` that averages values at cells over each prompt.

        Args:
            skip_first: leave out each prompt's first token, unless it is the only one. Its hidden state is
                nearly the same in every prompt, because models use it as an attention sink.
            last_share: the average is ``(1 - last_share) · mean + last_share · last token``.
            most_tokens: the mean is that of so many of a prompt's tokens at most, evenly spaced, with the
                last one among them; None for all.
        """
        lengths = torch.bincount(self.owner, minlength=self.count)
        wanted = torch.ones_like(self.owner, dtype=torch.bool)
        if skip_first:
            wanted[1:] = self.owner[1:] == self.owner[:-1]
            wanted[0] = False
            wanted |= (lengths == 1)[self.owner]
        if most_tokens is not None:
            wanted &= self._spread_evenly(wanted, most_tokens)
        cells, owner = self.cells[wanted], self.owner[wanted]
        counts = torch.bincount(owner, minlength=self.count)
        weights = torch.zeros(self.count, self.inputs["input_ids"].numel(), device=cells.device)
        weights.index_put_((owner, cells), ((1 - last_share) / counts.float())[owner])
        weights[torch.arange(self.count), cells[counts.cumsum(0) - 1]] += last_share
        return weights

    def _spread_evenly(self, wanted: Tensor, most: int) -> Tensor:
        """Return which tokens to take, so that each prompt has at most ``most`` of those wanted, ``[N]``."""
        counts = torch.bincount(self.owner[wanted], minlength=self.count)
        before = wanted.long().cumsum(0) - 1
        place = before - (counts.cumsum(0) - counts)[self.owner]  # among its prompt's wanted tokens
        own = counts[self.owner]
        return (place + 1) * most // own > place * most // own

    def last_cells(self) -> Tensor:
        """Return the cell of each prompt's last token, ``[P]``."""
        return self.cells[torch.bincount(self.owner, minlength=self.count).cumsum(0) - 1]

    def token_ids(self) -> list[list[int]]:
        """Return each prompt's token ids."""
        flat = self.inputs["input_ids"].flatten()[self.cells]
        lengths = torch.bincount(self.owner, minlength=self.count).tolist()
        return [part.tolist() for part in flat.split(lengths)]


def pad_prompts(prompts: Sequence[Sequence[int]], device: torch.device) -> Requests:
    """Put prompts into one batch, a row each.

    They are padded on the right. So no token attends to padding, and every token has the position that it has
    in its own prompt, even in models that count positions from the row's start.

    Args:
        prompts: token ids.
        device: of the returned tensors.

    Raises:
        ValueError: if there is no prompt, or one is empty.
    """
    if not prompts or not all(len(ids) for ids in prompts):
        raise ValueError("a prompt must have at least one token, and there must be at least one prompt")
    lengths = torch.tensor([len(ids) for ids in prompts])
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]  # [B, L]
    input_ids = torch.zeros(mask.shape, dtype=torch.long)
    input_ids[mask] = torch.tensor([token for ids in prompts for token in ids])
    return Requests(
        inputs={
            "input_ids": input_ids.to(device),
            "attention_mask": mask.long().to(device),
            "use_cache": False,
        },
        cells=mask.flatten().nonzero().squeeze(1).to(device),
        owner=torch.arange(len(prompts)).repeat_interleave(lengths).to(device),
        count=len(prompts),
    )


def list_prompts(input_ids: Tensor, attention_mask: Tensor | None = None) -> list[list[int]]:
    """Return the token ids of each prompt in a padded batch.

    Args:
        input_ids: ``[B, L]``.
        attention_mask: ``[B, L]``, 0 at padding; None for no padding.

    Raises:
        ValueError: if the two do not have the same shape ``[B, L]``.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if input_ids.dim() != 2 or mask.shape != input_ids.shape:
        raise ValueError(
            "a request router needs input_ids and attention_mask of the same shape [B, L], "
            f"found {tuple(input_ids.shape)} and {tuple(mask.shape)}"
        )
    return [ids[seen.bool()].tolist() for ids, seen in zip(input_ids.cpu(), mask.cpu(), strict=True)]


def cut_passes(lengths: Sequence[int], tokens_per_pass: int) -> list[list[int]]:
    """Divide texts into passes of at most ``tokens_per_pass`` tokens, padding included.

    Args:
        lengths: number of tokens of each text.
        tokens_per_pass: the limit; a longer text runs alone.

    Returns:
        The indices of the texts of each pass, short texts first.
    """
    passes: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if not passes or (len(passes[-1]) + 1) * lengths[index] > tokens_per_pass:
            passes.append([])
        passes[-1].append(index)
    return passes
