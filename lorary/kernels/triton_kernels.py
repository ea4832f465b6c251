"""What runs on the device: one program works on a block of one expert's pairs. See ``triton_ops.py``.

P pairs of a block, R of the rank, W columns at a time; WIDE is the dtype of sums. A pair is a token and one
of its experts, number ``token * top_k + k``.
"""

import triton
import triton.language as tl


@triton.jit
def shrink_kernel(
    x,
    factors,
    places,
    experts,
    shrunk,
    num_pairs,
    num_experts,
    rank,
    width,
    top_k,
    P: tl.constexpr,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """A block of pairs, some of the rank: shrunk[pair, r] = sum_w x[token, w] factors[expert, r, w]."""
    expert = tl.load(experts + tl.program_id(0))
    if expert < num_experts:
        pair = tl.load(places + tl.program_id(0) * P + tl.arange(0, P))
        r = tl.program_id(1) * R + tl.arange(0, R)
        rows = x + (pair // top_k)[:, None] * width
        own = factors + (expert * rank + r)[None, :] * width
        is_pair, is_rank = pair < num_pairs, r < rank
        sums = tl.zeros((P, R), WIDE)
        for start in range(0, width, W):
            w = start + tl.arange(0, W)
            left = tl.load(rows + w[None, :], is_pair[:, None] & (w < width)[None, :], 0.0)
            right = tl.load(own + w[:, None], is_rank[None, :] & (w < width)[:, None], 0.0)
            if WIDEN:
                left, right = left.to(WIDE), right.to(WIDE)
            sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=WIDE)
        tl.store(shrunk + pair[:, None] * rank + r[None, :], sums, is_pair[:, None] & is_rank[None, :])


@triton.jit
def expand_kernel(
    weighed,
    factors,
    places,
    experts,
    sums,
    num_pairs,
    num_experts,
    rank,
    width,
    top_k,
    P: tl.constexpr,
    R: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
):
    """A block of pairs, some columns: sums[token, w] += sum_r weighed[pair, r] factors[expert, r, w]."""
    expert = tl.load(experts + tl.program_id(0))
    if expert < num_experts:
        pair = tl.load(places + tl.program_id(0) * P + tl.arange(0, P))
        w = tl.program_id(1) * W + tl.arange(0, W)
        is_pair, is_column = pair < num_pairs, w < width
        at = sums + (pair // top_k)[:, None] * width + w[None, :]
        inside = is_pair[:, None] & is_column[None, :]
        total = tl.load(at, inside, 0.0)
        for start in range(0, rank, R):
            r = start + tl.arange(0, R)
            left = tl.load(
                weighed + pair[:, None] * rank + r[None, :], is_pair[:, None] & (r < rank)[None, :], 0.0
            )
            own = factors + (expert * rank + r)[:, None] * width + w[None, :]
            right = tl.load(own, (r < rank)[:, None] & is_column[None, :], 0.0).to(WIDE)
            total = tl.dot(left, right, total, input_precision="ieee", out_dtype=WIDE)
        tl.store(at, total, inside)


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
        sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=WIDE)
    at = gathered + (expert * rank + r)[:, None] * width + w[None, :]
    tl.store(at, sums.to(gathered.dtype.element_ty), (r < rank)[:, None] & (w < width)[None, :])
