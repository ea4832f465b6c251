"""Experts for many tokens, a block of one expert's pairs at a time; see ``triton_grouped.py``.

A program works on P pairs, R of the rank, W columns at a time; WIDE is the dtype of sums. A pair is a token
and one of its experts.
"""

import triton
import triton.language as tl

from lorary.kernels.triton_kernels.weigh import find_rank, weigh


@triton.jit
def shrink_kernel(
    x,
    factors,
    order,
    owners,
    starts,
    ends,
    ranks,
    shrunk,
    num_tokens,
    num_experts,
    num_blocks,
    rank,
    width,
    P: tl.constexpr,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    WIDEN: tl.constexpr,
    MIXED: tl.constexpr,
):
    """A block of pairs, some of the rank: shrunk[pair, r] = sum_w x[token, w] factors[expert, r, w].

    With MIXED ranks 0 beyond the expert's own; 0 for unknown experts, nothing for pairs that are left out.
    """
    choice = tl.program_id(2)
    block = choice * num_blocks + tl.program_id(0)
    expert = tl.load(owners + block)
    if (expert <= num_experts + 1) & (expert != num_experts):
        is_known = expert < num_experts
        own = find_rank(ranks, expert, is_known, rank, MIXED)
        end = tl.where(is_known & (tl.program_id(1) * R < own), width, 0)
        place = tl.load(starts + block) + tl.arange(0, P)
        is_pair = place < tl.load(ends + block)
        token = tl.load(order + choice * num_tokens + place, is_pair, 0)
        r = tl.program_id(1) * R + tl.arange(0, R)
        rows = x + token[:, None] * width
        columns = factors + (expert.to(tl.int64) * rank + r)[None, :] * width
        sums = tl.zeros((P, R), WIDE)
        for start in range(0, end, W):
            w = start + tl.arange(0, W)
            left = tl.load(rows + w[None, :], is_pair[:, None] & (w < width)[None, :], 0.0)
            right = tl.load(columns + w[:, None], (r < own)[None, :] & (w < width)[:, None], 0.0)
            if WIDEN:
                left, right = left.to(WIDE), right.to(WIDE)
            sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=WIDE)
        pair = token * tl.num_programs(2) + choice
        tl.store(shrunk + pair[:, None] * rank + r[None, :], sums, is_pair[:, None] & (r < rank)[None, :])


@triton.jit(do_not_specialize=["choice"])
def expand_kernel(
    shrunk,
    weights,
    factors,
    order,
    owners,
    starts,
    ends,
    ranks,
    onto,
    sums,
    y,
    choice,
    num_tokens,
    num_experts,
    num_blocks,
    rank,
    width,
    top_k,
    P: tl.constexpr,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    FIRST: tl.constexpr,
    LAST: tl.constexpr,
    ONTO: tl.constexpr,
    WEIGHS: tl.constexpr,
    FACTORS: tl.constexpr,
    MIXED: tl.constexpr,
):
    """A block of one choice's pairs, some columns: add sum_r weighed[pair, r] factors[expert, r, w].

    The FIRST choice adds it to ``onto``, others to ``sums``; the LAST one gives ``y``.
    """
    block = choice * num_blocks + tl.program_id(0)
    expert = tl.load(owners + block)
    if expert <= num_experts + 1:
        place = tl.load(starts + block) + tl.arange(0, P)
        is_pair = place < tl.load(ends + block)
        token = tl.load(order + choice * num_tokens + place, is_pair, 0)
        w = tl.program_id(1) * W + tl.arange(0, W)
        is_column = w < width
        at = token[:, None] * width + w[None, :]
        inside = is_pair[:, None] & is_column[None, :]
        if not FIRST:
            total = tl.load(sums + at, inside, 0.0)
        elif ONTO:
            total = tl.load(onto + at, inside, 0.0).to(WIDE)
        else:
            total = tl.zeros((P, W), WIDE)
        own = find_rank(ranks, expert, expert < num_experts, rank, MIXED)
        if expert == num_experts + 1:
            total += float("nan")
        for start in range(0, tl.where(expert < num_experts, own, 0), R):
            r = start + tl.arange(0, R)
            is_number = is_pair[:, None] & (r < own)[None, :]
            tokens = token[:, None]
            left = weigh(shrunk, weights, tokens, choice, r[None, :], is_number, rank, top_k, WEIGHS, FACTORS)
            rows = factors + (expert.to(tl.int64) * rank + r)[:, None] * width + w[None, :]
            right = tl.load(rows, (r < own)[:, None] & is_column[None, :], 0.0).to(WIDE)
            total = tl.dot(left, right, total, input_precision=PRECISION, out_dtype=WIDE)
        if LAST:
            tl.store(y + at, total.to(y.dtype.element_ty), inside)
        else:
            tl.store(sums + at, total, inside)


@triton.jit
def gather_kernel(
    weighed,
    x,
    order,
    first,
    gathered,
    rank,
    width,
    top_k,
    P: tl.constexpr,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """One expert, some of the rank, some columns: sum over its pairs of weighed[pair, r] x[token, w]."""
    expert = tl.program_id(0)
    r = tl.program_id(1) * R + tl.arange(0, R)
    w = tl.program_id(2) * W + tl.arange(0, W)
    end = tl.load(first + expert + 1)
    sums = tl.zeros((R, W), WIDE)
    for start in range(tl.load(first + expert), end, P):
        place = start + tl.arange(0, P)
        pair = tl.load(order + place, place < end, 0)
        left = tl.load(
            weighed + pair[None, :] * rank + r[:, None], (place < end)[None, :] & (r < rank)[:, None], 0.0
        )
        rows = x + (pair // top_k)[:, None] * width + w[None, :]
        right = tl.load(rows, (place < end)[:, None] & (w < width)[None, :], 0.0).to(WIDE)
        sums = tl.dot(left, right, sums, input_precision=PRECISION, out_dtype=WIDE)
    at = gathered + (expert.to(tl.int64) * rank + r)[:, None] * width + w[None, :]
    tl.store(at, sums.to(gathered.dtype.element_ty), (r < rank)[:, None] & (w < width)[None, :])
