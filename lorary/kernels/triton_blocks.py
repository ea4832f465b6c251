"""Pairs in blocks of one expert each, divided in Triton: a few launches, and no waiting for the device.

T tokens, E experts, K experts per token, N blocks, P pairs of a block. A pair is a token and one of its
experts, number ``token * K + choice``.
"""

from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from lorary.kernels.triton_device import LAUNCH
from lorary.kernels.triton_kernels.blocks import cut_kernel, key_kernel

BLOCK_KEYS = 256
MOST_PAIRS = 2**30  # within 32 bits, with some to spare
BLOCK_CUTS = 16  # blocks that one program describes


@dataclass(frozen=True)
class Blocks:
    """Each choice's tokens sorted by expert, and each expert's tokens divided into blocks.

    Besides the experts, number E owns the pairs that are left out, and E + 1 those of an unknown expert.
    """

    order: Tensor
    """Sorted tokens, ``[K, T]`` int64."""
    owners: Tensor
    """The owner of each block, ``[K, N]`` int32; above E + 1 for an empty block."""
    starts: Tensor
    """Each block's first place in ``order``, ``[K, N]`` int32."""
    ends: Tensor
    """The place after the last of its owner, ``[K, N]`` int32."""
    size: int
    """P, the maximum number of places of a block."""


def cut_blocks(indices: Tensor, num_experts: int, weights: Tensor | None = None) -> Blocks:
    """Sort the pairs of every choice by expert; each expert's pairs start a new block.

    Args:
        indices: ``[T, K]`` int64, contiguous, with at least one pair.
        num_experts: E.
        weights: ``[T, K]``, contiguous; a pair of weight 0 is left out. None for all pairs.

    Raises:
        ValueError: if there are more pairs than can be numbered.
    """
    tokens, top_k = indices.shape
    if tokens * top_k > MOST_PAIRS:
        raise ValueError(
            f"Triton's operators take at most {MOST_PAIRS} pairs of a token and an expert, found "
            f"{tokens * top_k}: pass fewer tokens at a time"
        )
    keys = indices.new_empty(top_k, tokens, dtype=torch.int32)
    key_kernel[(triton.cdiv(keys.numel(), BLOCK_KEYS),)](
        *(indices, indices if weights is None else weights, keys),
        *(keys.numel(), tokens, num_experts, top_k, weights is not None, BLOCK_KEYS),
        **LAUNCH,
    )
    keys, order = keys.sort(dim=1, stable=True)
    # As many places as an expert has pairs on average: more would be empty, fewer would read factors more
    # often.
    size = min(64, max(16, triton.next_power_of_2(triton.cdiv(tokens, max(1, num_experts)))))
    num_owners = num_experts + 2
    num_blocks = triton.cdiv(tokens, size) + min(num_owners, tokens)
    owners, starts, ends = keys.new_empty(3, top_k, num_blocks)
    cut_kernel[(top_k, triton.cdiv(num_blocks, BLOCK_CUTS))](
        *(keys, owners, starts, ends, tokens, num_owners, num_blocks, tokens.bit_length()),
        *(size, triton.next_power_of_2(num_owners), BLOCK_CUTS),
        **LAUNCH,
    )
    return Blocks(order, owners, starts, ends, size)
