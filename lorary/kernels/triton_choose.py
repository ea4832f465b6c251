"""Choosing experts in Triton: scores in parts, then the best of their sums and a softmax over these.

T tokens, E experts, I layer input, K experts per token, N parts. In kernels T, E, K and W are the numbers
of tokens, experts, choices and columns that a program works on at a time.
"""

import torch
import triton
from torch import Tensor

from lorary.kernels.checks import check_along, check_best, check_choice, sum_dtype
from lorary.kernels.triton_device import LAUNCH, choose_wide, lay_out_all, needs_widening, on_its_device
from lorary.kernels.triton_kernels.choose import choose_kernel, score_kernel

BLOCK_WIDTH = 64
BLOCK_CHOICES = 4  # tokens whose experts are chosen together
MOST_PARTS = 8
ENOUGH_PROGRAMS = 64  # to keep a device busy while it reads prototypes


@on_its_device
def choose_best(
    scores: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Keep the best scores and compute their weights; see ``cpu.choose_best``."""
    _, experts = check_best(scores)
    temperature, base = check_choice(experts, top_k, temperature, abstain)
    (scores,) = lay_out_all(scores)
    return _choose(scores[None], top_k, temperature, None if abstain is None else base, is_signed=True)


@on_its_device
def choose_along(
    x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
) -> tuple[Tensor, Tensor]:
    """Choose by ``|x · v_e|`` in two launches; see ``cpu.choose_along``."""
    _, experts, _ = check_along(x, prototypes)
    temperature, base = check_choice(experts, top_k, temperature, abstain)
    parts = score_parts(*lay_out_all(x, prototypes))
    return _choose(parts, top_k, temperature, None if abstain is None else base, is_signed=False)


def score_parts(x: Tensor, prototypes: Tensor) -> Tensor:
    """Multiply tokens and prototypes, with the layer's input divided into parts if there are few of both.

    Args:
        x: ``[T, I]``, contiguous.
        prototypes: ``[E, I]`` in the dtype of ``x``, contiguous.

    Returns:
        ``[N, T, E]`` of ``sum_dtype``, to be added up over N.
    """
    tokens, width = x.shape
    experts = len(prototypes)
    # Products need at least 16 in each dimension.
    block_tokens = 16 if tokens <= 64 else 64
    block_experts = min(64, max(16, triton.next_power_of_2(experts)))
    blocks = triton.cdiv(tokens, block_tokens), triton.cdiv(experts, block_experts)
    steps = triton.cdiv(width, BLOCK_WIDTH)
    wanted = triton.cdiv(ENOUGH_PROGRAMS, max(1, blocks[0] * blocks[1]))
    share = triton.cdiv(steps, min(MOST_PARTS, wanted, steps)) * BLOCK_WIDTH
    parts = triton.cdiv(width, share)
    scores = x.new_empty(parts, tokens, experts, dtype=sum_dtype(x.dtype))
    if tokens:
        score_kernel[(*blocks, parts)](
            *(x, prototypes, scores, tokens, experts, width, share),
            *(block_tokens, block_experts, BLOCK_WIDTH, choose_wide(x), needs_widening(x)),
            **LAUNCH,
        )
    return scores


def _choose(
    parts: Tensor, top_k: int, temperature: float, base: float | None, *, is_signed: bool
) -> tuple[Tensor, Tensor]:
    num_parts, tokens, experts = parts.shape
    indices = parts.new_empty(tokens, top_k, dtype=torch.int64)
    weights = parts.new_empty(tokens, top_k, dtype=torch.float32)
    if tokens:
        choose_kernel[(triton.cdiv(tokens, BLOCK_CHOICES),)](
            *(parts, indices, weights, tokens, experts, top_k, float(temperature), float(base or 0)),
            *(num_parts, is_signed, base is not None, BLOCK_CHOICES),
            *(triton.next_power_of_2(experts), triton.next_power_of_2(top_k)),
            **LAUNCH,
        )
    return indices, weights
