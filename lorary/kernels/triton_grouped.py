"""Experts for many tokens in Triton: a program works on a block of one expert's pairs, with tensor cores.

Experts are added choice by choice, so that a launch writes each token once: no atomics, and the same bits
every time. The first launch starts from ``onto``, the last one rounds.

Tensors of blocks are contiguous and have matching shapes, as ``triton_ops`` ensures.

T tokens, E experts, R rank, W layer input or output, K experts per token. In kernels P, R and W are the
numbers of pairs, ranks and columns that a program works on at a time.
"""

import torch
import triton
from torch import Tensor

from lorary.kernels.checks import check_gather, sum_dtype
from lorary.kernels.triton_blocks import Blocks
from lorary.kernels.triton_device import (
    LAUNCH,
    choose_precision,
    choose_wide,
    lay_out_all,
    needs_widening,
    on_its_device,
)
from lorary.kernels.triton_kernels.grouped import expand_kernel, gather_kernel, shrink_kernel

SHRUNK_WIDTH = 128
EXPANDED_NUMBERS = 4096  # columns of the output that one program adds to
GATHERED_PAIRS = 16
GATHERED_WIDTH = 64


def shrink_blocks(x: Tensor, factors: Tensor, blocks: Blocks, ranks: Tensor | None) -> Tensor:
    """Project each token into its experts' rank spaces; see ``cpu.shrink_rows``.

    Args:
        x: ``[T, W]``.
        factors: ``[E, R, W]``.
        blocks: of these tokens and experts.
        ranks: ``[E]``, or None.

    Returns:
        ``[T, K, R]`` of ``sum_dtype``; 0 for an unknown expert; undefined for pairs that
        are left out.
    """
    rank, width = factors.shape[1:]
    top_k, tokens = blocks.order.shape
    shrunk = x.new_empty(tokens, top_k, rank, dtype=sum_dtype(x.dtype))
    block_rank = _choose_block_rank(rank, ranks)
    grid = blocks.owners.shape[1], triton.cdiv(rank, block_rank), top_k
    shrink_kernel[grid](
        *(x, factors, blocks.order, blocks.owners, blocks.starts, blocks.ends),
        *(blocks.owners if ranks is None else ranks, shrunk, tokens, len(factors), grid[0], rank, width),
        *(blocks.size, block_rank, SHRUNK_WIDTH, choose_wide(x), needs_widening(x), ranks is not None),
        **LAUNCH,
    )
    return shrunk


def expand_blocks(
    shrunk: Tensor,
    weights: Tensor | None,
    factors: Tensor,
    blocks: Blocks,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None,
) -> Tensor:
    """Weight in rank space and add up experts' rows; see ``cpu.mix_rows``.

    Args:
        shrunk: ``[T, K, R]`` of ``sum_dtype``.
        weights: ``[T, K]``; None if ``shrunk`` is weighted already, with ``combine="outputs"``.
        factors: ``[E, R, W]``.
        blocks: of these tokens and experts.
        onto: ``[T, W]`` to add to, or None.
        combine: ``"outputs"`` or ``"factors"``.
        ranks: ``[E]``, or None.

    Returns:
        ``[T, W]`` in the dtype of ``factors``; NaN for a token with an unknown expert.
    """
    rank, width = factors.shape[1:]
    tokens, top_k, _ = shrunk.shape
    y = factors.new_empty(tokens, width)
    sums = shrunk.new_empty(tokens, width) if top_k > 1 else y
    block_width = EXPANDED_NUMBERS // blocks.size
    grid = blocks.owners.shape[1], triton.cdiv(width, block_width)
    for choice in range(top_k):
        expand_kernel[grid](
            *(shrunk, shrunk if weights is None else weights, factors),
            *(blocks.order, blocks.owners, blocks.starts, blocks.ends),
            *(blocks.owners if ranks is None else ranks, y if onto is None else onto, sums, y),
            *(choice, tokens, len(factors), grid[0], rank, width, top_k),
            *(blocks.size, _choose_block_rank(rank, ranks), block_width, choose_wide(factors)),
            *(choose_precision(factors), choice == 0, choice == top_k - 1, onto is not None),
            *(weights is not None, combine == "factors", ranks is not None),
            **LAUNCH,
        )
    return y


@on_its_device
def gather_rows(weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
    """Add up tokens' rows, weighted by numbers from rank space; see ``cpu.gather_rows``."""
    _, _, rank, width, top_k = check_gather(weighed, x, indices, num_experts)
    x, weighed, indices = lay_out_all(x, weighed, indices)
    chosen, order = indices.reshape(-1).sort(stable=True)
    first = torch.searchsorted(chosen, torch.arange(num_experts + 1, device=x.device))
    gathered = x.new_empty(num_experts, rank, width)
    block_rank = _choose_block_rank(rank, None)
    grid = num_experts, triton.cdiv(rank, block_rank), triton.cdiv(width, GATHERED_WIDTH)
    gather_kernel[grid](
        *(weighed, x, order, first, gathered, rank, width, top_k),
        *(GATHERED_PAIRS, block_rank, GATHERED_WIDTH, choose_wide(x), choose_precision(x)),
        **LAUNCH,
    )
    return gathered


def _choose_block_rank(rank: int, ranks: Tensor | None) -> int:
    """Return how much of the rank to work on at a time: little if most experts may have a low rank."""
    return 16 if ranks is not None else min(64, max(16, triton.next_power_of_2(rank)))
