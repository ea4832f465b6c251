"""Scores of experts, and the best of them; see ``triton_choose.py``.

A program works on T tokens, E experts, K choices, W columns at a time; N parts; WIDE is the dtype of sums.
"""

import triton
import triton.language as tl


@triton.jit
def score_kernel(
    x,
    prototypes,
    scores,
    num_tokens,
    num_experts,
    width,
    share,
    T: tl.constexpr,
    E: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Some tokens, some experts, a share of the columns: scores[part, token, expert]."""
    token = tl.program_id(0) * T + tl.arange(0, T)
    expert = tl.program_id(1) * E + tl.arange(0, E)
    part = tl.program_id(2)
    is_token, is_expert = token < num_tokens, expert < num_experts
    sums = tl.zeros((T, E), WIDE)
    for start in range(part * share, tl.minimum((part + 1) * share, width), W):
        w = start + tl.arange(0, W)
        is_column = w < width
        rows = x + token.to(tl.int64)[:, None] * width + w[None, :]
        left = tl.load(rows, is_token[:, None] & is_column[None, :], 0.0)
        columns = prototypes + expert.to(tl.int64)[None, :] * width + w[:, None]
        right = tl.load(columns, is_expert[None, :] & is_column[:, None], 0.0)
        if WIDEN:
            left, right = left.to(WIDE), right.to(WIDE)
        sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=WIDE)
    row = part.to(tl.int64) * num_tokens + token
    at = scores + row[:, None] * num_experts + expert[None, :]
    tl.store(at, sums, is_token[:, None] & is_expert[None, :])


@triton.jit
def choose_kernel(
    parts,
    indices,
    weights,
    num_tokens,
    num_experts,
    top_k,
    temperature,
    base,
    N: tl.constexpr,
    SIGNED: tl.constexpr,
    ABSTAINS: tl.constexpr,
    T: tl.constexpr,
    E: tl.constexpr,
    K: tl.constexpr,
):
    """T tokens: their best experts by the sum of N parts, or its absolute value, and their softmax."""
    largest = 1.7e38  # its double is still finite
    token = tl.program_id(0).to(tl.int64) * T + tl.arange(0, T)
    expert, place = tl.arange(0, E), tl.arange(0, K)
    is_token = token < num_tokens
    is_score = is_token[:, None] & (expert < num_experts)[None, :]
    row = token
    sums = tl.load(parts + row[:, None] * num_experts + expert[None, :], is_score, 0.0)
    for _ in tl.static_range(1, N):
        row += num_tokens
        sums += tl.load(parts + row[:, None] * num_experts + expert[None, :], is_score, 0.0)
    scores = sums.to(tl.float32)
    if not SIGNED:
        scores = tl.abs(scores)
    scores = scores / temperature
    # NaN counts as the lowest number; places beyond the last expert are never chosen.
    scores = tl.where(scores == scores, tl.minimum(tl.maximum(scores, -largest), largest), -largest)
    scores = tl.where((expert < num_experts)[None, :], scores, float("-inf"))
    kept = tl.full((T, K), float("-inf"), tl.float32)
    for k in range(top_k):
        best, found = tl.max(scores, 1, return_indices=True, return_indices_tie_break_left=True)
        kept = tl.where(place[None, :] == k, best[:, None], kept)
        scores = tl.where(expert[None, :] == found[:, None], float("-inf"), scores)
        tl.store(indices + token * top_k + k, found.to(tl.int64), is_token)
    highest = tl.max(kept, 1)
    if ABSTAINS:
        highest = tl.maximum(highest, base)
    shares = tl.exp(kept - highest[:, None])
    total = tl.sum(shares, 1)
    if ABSTAINS:
        total += tl.exp(base - highest)
    at = weights + token[:, None] * top_k + place[None, :]
    tl.store(at, shares / total[:, None], is_token[:, None] & (place < top_k)[None, :])
