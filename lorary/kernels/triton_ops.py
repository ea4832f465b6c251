"""The operators of ``cpu.py`` for CUDA devices, in Triton; ``TRITON_INTERPRET=1`` runs them on CPUs, slowly.

T tokens, E experts, R rank, I layer input, O layer output, W either of these, K experts per token. A pair is
a token and one of its experts; pairs are sorted by expert and cut into blocks of one expert each.
"""

import os
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from lorary.kernels.cpu import sum_dtype
from lorary.kernels.triton_kernels import choose_kernel, expand_kernel, gather_kernel, shrink_kernel

FOR_ANY_SIZE = True
BLOCK_PAIRS = 16
BLOCK_RANK = 16
BLOCK_WIDTH = 64
DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
"""The dtypes there are operators for."""
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True)
class Blocks:
    """Pairs in blocks of ``BLOCK_PAIRS`` places, choice by choice; made without waiting for the device."""

    places: Tensor
    """Pair ``t * K + k`` in each place, ``[K, N * BLOCK_PAIRS]`` int64; T*K where a place is empty."""
    experts: Tensor
    """Expert of each block, ``[K, N]`` int64; E where a block is empty."""


def cut_blocks(indices: Tensor, num_experts: int, weights: Tensor | None = None) -> Blocks:
    """Sort the pairs of every choice by expert, each expert's beginning a block of its own.

    Args:
        indices: ``[T, K]``.
        num_experts: E.
        weights: ``[T, K]``; a pair of weight 0 is no expert's. None for all pairs.
    """
    tokens, top_k = indices.shape
    kept = torch.ones_like(indices) if weights is None else (weights != 0).long()
    num_blocks = triton.cdiv(tokens, BLOCK_PAIRS) + min(num_experts, tokens)
    counts = torch.zeros(top_k, num_experts, dtype=torch.int64, device=indices.device)
    counts.scatter_add_(1, indices.T, kept.T)  # refuses experts that do not exist
    # [K, T]: expert, token; pairs that are not kept stand last, as if there were one expert more.
    chosen, order = indices.where(kept != 0, num_experts).T.sort(dim=1, stable=True)
    used = (counts + BLOCK_PAIRS - 1) // BLOCK_PAIRS  # [K, E] blocks
    last = used.cumsum(1)
    # An expert's first place, and its first pair among the sorted ones.
    starts = nn.functional.pad((last - used) * BLOCK_PAIRS, (0, 1), value=num_blocks * BLOCK_PAIRS)
    begun = nn.functional.pad(counts.cumsum(1) - counts, (0, 1))
    rank = torch.arange(tokens, device=indices.device) - begun.gather(1, chosen)
    pairs = order * top_k + torch.arange(top_k, device=indices.device)[:, None]
    # One place more, for what is not kept.
    places = indices.new_full((top_k, num_blocks * BLOCK_PAIRS + 1), tokens * top_k)
    at = (starts.gather(1, chosen) + rank).clamp(max=num_blocks * BLOCK_PAIRS)
    places = places.scatter_(1, at, pairs)[:, :-1].contiguous()
    numbers = torch.arange(num_blocks, device=indices.device).expand(top_k, -1).contiguous()
    return Blocks(places, torch.searchsorted(last, numbers, right=True))


def mix_rows(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None = None,
) -> Tensor:
    """Shrink, weigh and expand; see ``cpu.mix_rows``."""
    blocks = cut_blocks(indices, len(a), weights)
    weight = weights[:, :, None]
    weighed = (weight * _shrink(x, a, indices, blocks, ranks)).where(weight != 0, 0.0)
    if combine == "factors":
        weighed = weight * weighed.sum(1, keepdim=True)
    return _expand(weighed, b_t, blocks, onto, ranks)


def mix_rows_kept(
    x: Tensor,
    a: Tensor,
    b_t: Tensor,
    indices: Tensor,
    weights: Tensor,
    onto: Tensor | None,
    combine: str,
    ranks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Do the same, and keep what gradients need; see ``cpu.mix_rows_kept``."""
    blocks = cut_blocks(indices, len(a))
    shrunk = _shrink(x, a, indices, blocks, ranks)
    weight = weights[:, :, None]
    own = (weight * shrunk).sum(1, keepdim=True) if combine == "factors" else shrunk
    return _expand(weight * own, b_t, blocks, onto, ranks), shrunk


def shrink_rows(x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Take each token to its experts' rank spaces; see ``cpu.shrink_rows``."""
    return _shrink(x, factors, indices, cut_blocks(indices, len(factors)), None)


def expand_rows(weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
    """Add up experts' rows by numbers from rank space; see ``cpu.expand_rows``."""
    return _expand(weighed, factors, cut_blocks(indices, len(factors)), None, None)


def gather_rows(weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
    """Add up tokens' rows by numbers from rank space; see ``cpu.gather_rows``."""
    _, top_k, rank = weighed.shape
    width = x.shape[1]
    weighed, x = weighed.contiguous(), x.contiguous()
    chosen, order = indices.reshape(-1).sort(stable=True)
    first = torch.searchsorted(chosen, torch.arange(num_experts + 1, device=x.device))
    gathered = x.new_empty(num_experts, rank, width)
    grid = (num_experts, triton.cdiv(rank, BLOCK_RANK), triton.cdiv(width, BLOCK_WIDTH))
    gather_kernel[grid](
        *(weighed, x, order, first, gathered, rank, width, top_k),
        *(BLOCK_PAIRS, BLOCK_RANK, BLOCK_WIDTH, _wide(x)),
    )
    return gathered


def choose_best(
    scores: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Keep the best scores and share weight among them; see ``cpu.choose_best``."""
    return _choose(scores, None, scores.shape[1], top_k, temperature, abstain)


def choose_along(
    x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Choose by ``|x · v_e|`` without keeping the scores; see ``cpu.choose_along``."""
    return _choose(x, prototypes.contiguous(), len(prototypes), top_k, temperature, abstain)


def _choose(
    x: Tensor,
    prototypes: Tensor | None,
    num_experts: int,
    top_k: int,
    temperature: float,
    abstain: float | None,
) -> tuple[Tensor, Tensor]:
    tokens, width = x.shape
    x = x.contiguous()
    indices = x.new_empty(tokens, top_k, dtype=torch.int64)
    weights = x.new_empty(tokens, top_k, dtype=torch.float32)
    if tokens == 0:
        return indices, weights
    is_along, abstains = prototypes is not None, abstain is not None
    base = abstain / temperature if abstain is not None else 0.0
    # Products need sixteen of everything.
    block, padded = (BLOCK_PAIRS, max(num_experts, BLOCK_PAIRS)) if is_along else (4, num_experts)
    choose_kernel[(triton.cdiv(tokens, block),)](
        *(x, prototypes if is_along else x, indices, weights, tokens, num_experts, width, top_k),
        *(float(temperature), float(base), is_along, abstains),
        *(block, triton.next_power_of_2(padded), triton.next_power_of_2(top_k), BLOCK_WIDTH),
        *(_wide(x), IS_INTERPRETED or x.dtype == torch.float64),
    )
    return indices, weights


def _shrink(x: Tensor, factors: Tensor, indices: Tensor, blocks: Blocks, ranks: Tensor | None) -> Tensor:
    experts, rank, width = factors.shape
    tokens, top_k = indices.shape
    x, factors = x.contiguous(), factors.contiguous()
    shrunk = x.new_empty(tokens, top_k, rank, dtype=sum_dtype(x.dtype))
    grid = (blocks.experts.numel(), triton.cdiv(rank, BLOCK_RANK))
    shrink_kernel[grid](
        *(x, factors, blocks.places, blocks.experts, blocks.experts if ranks is None else ranks, shrunk),
        *(tokens * top_k, experts, rank, width, top_k, BLOCK_PAIRS, BLOCK_RANK, BLOCK_WIDTH, _wide(x)),
        # The interpreter takes bfloat16 for integers in products.
        *(IS_INTERPRETED or x.dtype == torch.float64, ranks is not None),
    )
    return shrunk


def _expand(
    weighed: Tensor, factors: Tensor, blocks: Blocks, onto: Tensor | None, ranks: Tensor | None
) -> Tensor:
    experts, rank, width = factors.shape
    tokens, top_k, _ = weighed.shape
    weighed, factors = weighed.contiguous(), factors.contiguous()
    sums = weighed.new_zeros(tokens, width)
    if onto is not None:
        sums.copy_(onto)
    for k in range(top_k):  # each token once per launch, so that sums need no atomics and keep their order
        grid = (blocks.experts.shape[1], triton.cdiv(width, BLOCK_WIDTH))
        expand_kernel[grid](
            *(
                weighed,
                factors,
                blocks.places[k],
                blocks.experts[k],
                blocks.experts if ranks is None else ranks,
            ),
            *(sums, tokens * top_k, experts, rank, width, top_k),
            *(BLOCK_PAIRS, BLOCK_RANK, BLOCK_WIDTH, _wide(factors), ranks is not None),
        )
    return sums.to(factors.dtype)


def is_triton_for(x: Tensor) -> bool:
    """Tell whether these operators can take tensors like this one."""
    return x.dtype in DTYPES and (x.is_cuda or IS_INTERPRETED)


def _wide(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32
