"""Experts for few tokens, a pair or a token at a time; see ``triton_pairs.py``.

A program works on R of the rank, W columns at a time; WIDE is the dtype of sums. A pair is a token and one of
its experts.
"""

import triton
import triton.language as tl

from lorary.kernels.triton_kernels.weigh import find_rank, weigh


@triton.jit
def shrink_pairs_kernel(
    x,
    factors,
    indices,
    weights,
    ranks,
    shrunk,
    num_experts,
    rank,
    width,
    top_k,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    LEAVES: tl.constexpr,
    MIXED: tl.constexpr,
):
    """One pair, some of the rank: shrunk[pair, r] = sum_w x[token, w] factors[expert, r, w]."""
    pair = tl.program_id(0).to(tl.int64)
    r = tl.program_id(1) * R + tl.arange(0, R)
    expert = tl.load(indices + pair)
    is_read = (expert >= 0) & (expert < num_experts)
    if LEAVES:
        is_read = is_read & (tl.load(weights + pair) != 0)
    own = find_rank(ranks, expert, is_read, rank, MIXED)
    row = x + pair // top_k * width
    rows = factors + (expert * rank + r)[:, None] * width
    sums = tl.zeros((R, W), WIDE)
    for start in range(0, tl.where(is_read & (tl.program_id(1) * R < own), width, 0), W):
        w = start + tl.arange(0, W)
        left = tl.load(row + w, w < width, 0.0).to(WIDE)
        right = tl.load(rows + w[None, :], (r < own)[:, None] & (w < width)[None, :], 0.0).to(WIDE)
        sums += left[None, :] * right
    tl.store(shrunk + pair * rank + r, tl.sum(sums, 1), r < rank)


@triton.jit
def expand_tokens_kernel(
    shrunk,
    weights,
    factors,
    indices,
    ranks,
    onto,
    y,
    num_experts,
    rank,
    width,
    top_k,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    ONTO: tl.constexpr,
    WEIGHS: tl.constexpr,
    FACTORS: tl.constexpr,
    MIXED: tl.constexpr,
):
    """One token, some columns: y[token, w] = onto[token, w] + sum_k,r weighed[k, r] factors[expert, r, w]."""
    token = tl.program_id(0).to(tl.int64)
    w = tl.program_id(1) * W + tl.arange(0, W)
    is_column = w < width
    total = tl.zeros((W,), WIDE)
    if ONTO:
        total += tl.load(onto + token * width + w, is_column, 0.0).to(WIDE)
    sums = tl.zeros((R, W), WIDE)
    for choice in range(top_k):
        pair = token * top_k + choice
        expert = tl.load(indices + pair)
        is_known = (expert >= 0) & (expert < num_experts)
        total += tl.where(is_known, 0.0, float("nan"))
        own = find_rank(ranks, expert, is_known, rank, MIXED)
        is_read = is_known
        if WEIGHS:
            is_read = is_read & (tl.load(weights + pair) != 0)
        for start in range(0, tl.where(is_read, own, 0), R):
            r = start + tl.arange(0, R)
            left = weigh(shrunk, weights, token, choice, r, r < own, rank, top_k, WEIGHS, FACTORS)
            rows = factors + (expert * rank + r)[:, None] * width + w[None, :]
            right = tl.load(rows, (r < own)[:, None] & is_column[None, :], 0.0).to(WIDE)
            sums += left[:, None] * right
    total += tl.sum(sums, 0)
    tl.store(y + token * width + w, total.to(y.dtype.element_ty), is_column)
