"""Experts for few tokens in Triton: a program reads one expert's factor for one pair; nothing is sorted.

Tensors are contiguous and have matching shapes, as ``triton_ops`` ensures.

T tokens, E experts, R rank, W layer input or output, K experts per token. In kernels R and W are the numbers
of ranks and columns that a program works on at a time. A pair is a token and one of its experts.
"""

import triton
from torch import Tensor

from lorary.kernels.checks import sum_dtype
from lorary.kernels.triton_device import LAUNCH, choose_wide
from lorary.kernels.triton_kernels.pairs import expand_tokens_kernel, shrink_pairs_kernel

SHRUNK_RANK = 4
SHRUNK_WIDTH = 1024
EXPANDED_RANK = 16
EXPANDED_WIDTH = 256


def shrink_pairs(
    x: Tensor, factors: Tensor, indices: Tensor, weights: Tensor | None, ranks: Tensor | None
) -> Tensor:
    """Project each token into its experts' rank spaces; see ``cpu.shrink_rows``.

    Args:
        x: ``[T, W]``.
        factors: ``[E, R, W]``.
        indices: ``[T, K]`` int64.
        weights: ``[T, K]``; a pair of weight 0 is not read and gives zeros. None for all pairs.
        ranks: ``[E]``, or None.

    Returns:
        ``[T, K, R]`` of ``sum_dtype``; zeros for an unknown expert.
    """
    experts, rank, width = factors.shape
    tokens, top_k = indices.shape
    shrunk = x.new_empty(tokens, top_k, rank, dtype=sum_dtype(x.dtype))
    block_rank = min(SHRUNK_RANK, triton.next_power_of_2(max(1, rank)))
    shrink_pairs_kernel[(tokens * top_k, triton.cdiv(rank, block_rank))](
        *(x, factors, indices, indices if weights is None else weights),
        *(indices if ranks is None else ranks, shrunk, experts, rank, width, top_k),
        *(block_rank, min(SHRUNK_WIDTH, triton.next_power_of_2(max(1, width))), choose_wide(x)),
        *(weights is not None, ranks is not None),
        **LAUNCH,
    )
    return shrunk


def expand_tokens(
    shrunk: Tensor,
    weights: Tensor | None,
    factors: Tensor,
    indices: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None,
) -> Tensor:
    """Weight in rank space and add up experts' rows; see ``triton_grouped.expand_blocks``."""
    experts, rank, width = factors.shape
    tokens, top_k = indices.shape
    y = factors.new_empty(tokens, width)
    block_width = min(EXPANDED_WIDTH, triton.next_power_of_2(max(1, width)))
    expand_tokens_kernel[(tokens, triton.cdiv(width, block_width))](
        *(shrunk, shrunk if weights is None else weights, factors, indices),
        *(indices if ranks is None else ranks, y if onto is None else onto, y),
        *(experts, rank, width, top_k),
        *(min(EXPANDED_RANK, triton.next_power_of_2(max(1, rank))), block_width, choose_wide(factors)),
        *(onto is not None, weights is not None, combine == "factors", ranks is not None),
        **LAUNCH,
    )
    return y
