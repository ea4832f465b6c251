"""Prompts as the base model reads them in one pass, and which cells belong to which prompt.

B rows, L row length, P prompts, N tokens of all prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Requests:
    """Some prompts in one pass. Rows may be padded, hold several prompts, or cells that prompts share."""

    inputs: Mapping[str, Any]
    """Keyword arguments of a ``transformers`` model, ``input_ids [B, L]`` among them."""
    cells: Tensor
    """Where each prompt's tokens are, one prompt after the other, ``[N]``: indices among all B×L."""
    owner: Tensor
    """Which prompt each belongs to, from 0 and rising, ``[N]``."""
    count: int
    """P; each prompt has at least one token."""

    def weigh_cells(self, skip_first: bool, last_share: float = 0.0) -> Tensor:
        """Give the matrix that turns what is at all cells into averages over prompts, ``[P, B×L]``.

        Args:
            skip_first: leave out each prompt's first token, unless it is the only one. A model parks much
                of its attention there, and what it holds is the same for every prompt.
            last_share: the average is ``(1 - last_share) · mean + last_share · last token``.
        """
        lengths = torch.bincount(self.owner, minlength=self.count)
        wanted = torch.ones_like(self.owner, dtype=torch.bool)
        if skip_first:
            wanted[1:] = self.owner[1:] == self.owner[:-1]
            wanted[0] = False
            wanted |= (lengths == 1)[self.owner]
        cells, owner = self.cells[wanted], self.owner[wanted]
        counts = torch.bincount(owner, minlength=self.count)
        weights = torch.zeros(self.count, self.inputs["input_ids"].numel(), device=cells.device)
        weights.index_put_((owner, cells), ((1 - last_share) / counts.float())[owner])
        weights[torch.arange(self.count), cells[counts.cumsum(0) - 1]] += last_share
        return weights

    def token_ids(self) -> list[list[int]]:
        """Give each prompt's token ids."""
        flat = self.inputs["input_ids"].flatten()[self.cells]
        lengths = torch.bincount(self.owner, minlength=self.count).tolist()
        return [part.tolist() for part in flat.split(lengths)]


def pad_prompts(prompts: Sequence[Sequence[int]], device: torch.device) -> Requests:
    """Put prompts into one batch, a row each.

    They are padded on the right, where no token sees the padding, and every model gives each token the place
    that it has in its own prompt.

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
    """Take the prompts out of a padded batch.

    Args:
        input_ids: ``[B, L]``.
        attention_mask: ``[B, L]``, 0 where there is padding; None for no padding.

    Raises:
        ValueError: if the two are not of one shape ``[B, L]``.
    """
    mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
    if input_ids.dim() != 2 or mask.shape != input_ids.shape:
        raise ValueError(
            "a router that decides per request needs input_ids and attention_mask of one shape, [B, L], "
            f"found {tuple(input_ids.shape)} and {tuple(mask.shape)}"
        )
    return [ids[seen.bool()].tolist() for ids, seen in zip(input_ids.cpu(), mask.cpu(), strict=True)]


def cut_passes(lengths: Sequence[int], tokens_per_pass: int) -> list[list[int]]:
    """Cut texts of these lengths into passes that hold so many tokens when padded; a longer one runs alone.

    Returns:
        The indices of each pass, short texts first.
    """
    passes: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index]):
        if not passes or (len(passes[-1]) + 1) * lengths[index] > tokens_per_pass:
            passes.append([])
        passes[-1].append(index)
    return passes
