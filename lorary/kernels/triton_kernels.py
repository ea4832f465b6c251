"""What runs on the device: one program works on a block of one expert's pairs. See ``triton_ops.py``.

P pairs or T tokens of a block, R of the rank, W columns at a time, E experts and K choices with what fills
them up to a power of two; WIDE is the dtype of sums. A pair is a token and one of its experts, number
``token * top_k + k``.
"""

import triton
import triton.language as tl


@triton.jit
def shrink_kernel(
    x,
    factors,
    places,
    experts,
    ranks,
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
    MIXED: tl.constexpr,
):
    """A block of pairs, some of the rank: shrunk[pair, r] = sum_w x[token, w] factors[expert, r, w].

    With MIXED ranks 0 beyond the expert's own.
    """
    expert = tl.load(experts + tl.program_id(0))
    if expert < num_experts:
        own = rank
        if MIXED:
            own = tl.load(ranks + expert).to(tl.int32)
        end = tl.where(tl.program_id(1) * R < own, width, 0)
        pair = tl.load(places + tl.program_id(0) * P + tl.arange(0, P))
        r = tl.program_id(1) * R + tl.arange(0, R)
        rows = x + (pair // top_k)[:, None] * width
        columns = factors + (expert * rank + r)[None, :] * width
        is_pair = pair < num_pairs
        sums = tl.zeros((P, R), WIDE)
        for start in range(0, end, W):
            w = start + tl.arange(0, W)
            left = tl.load(rows + w[None, :], is_pair[:, None] & (w < width)[None, :], 0.0)
            right = tl.load(columns + w[:, None], (r < own)[None, :] & (w < width)[:, None], 0.0)
            if WIDEN:
                left, right = left.to(WIDE), right.to(WIDE)
            sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=WIDE)
        at = shrunk + pair[:, None] * rank + r[None, :]
        tl.store(at, sums, is_pair[:, None] & (r < rank)[None, :])


@triton.jit
def expand_kernel(
    weighed,
    factors,
    places,
    experts,
    ranks,
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
    MIXED: tl.constexpr,
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
        own = rank
        if MIXED:
            own = tl.load(ranks + expert).to(tl.int32)
        for start in range(0, own, R):
            r = start + tl.arange(0, R)
            left = tl.load(
                weighed + pair[:, None] * rank + r[None, :], is_pair[:, None] & (r < own)[None, :], 0.0
            )
            rows = factors + (expert * rank + r)[:, None] * width + w[None, :]
            right = tl.load(rows, (r < own)[:, None] & is_column[None, :], 0.0).to(WIDE)
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


@triton.jit
def choose_kernel(
    x,
    prototypes,
    indices,
    weights,
    num_tokens,
    num_experts,
    width,
    top_k,
    temperature,
    base,
    ALONG: tl.constexpr,
    ABSTAINS: tl.constexpr,
    T: tl.constexpr,
    E: tl.constexpr,
    K: tl.constexpr,
    W: tl.constexpr,
    WIDE: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """T tokens: their best experts, by ``|x · v_e|`` or by ``x`` as scores, and the softmax over these."""
    largest = 1.7e38  # its double is a number still
    token = tl.program_id(0) * T + tl.arange(0, T)
    expert, place = tl.arange(0, E), tl.arange(0, K)
    is_token = token < num_tokens
    if ALONG:
        sums = tl.zeros((T, E), WIDE)
        for start in range(0, width, W):
            w = start + tl.arange(0, W)
            left = tl.load(
                x + token[:, None] * width + w[None, :], is_token[:, None] & (w < width)[None, :], 0.0
            )
            own = prototypes + expert[None, :] * width + w[:, None]
            right = tl.load(own, (expert < num_experts)[None, :] & (w < width)[:, None], 0.0)
            if WIDEN:
                left, right = left.to(WIDE), right.to(WIDE)
            sums = tl.dot(left, right, sums, input_precision="ieee", out_dtype=WIDE)
        scores = tl.abs(sums.to(tl.float32))
    else:
        at = x + token[:, None] * num_experts + expert[None, :]
        scores = tl.load(at, is_token[:, None] & (expert < num_experts)[None, :], 0.0)
    scores = scores / temperature
    # What is no number counts as the lowest there is; places beyond the last expert are never taken.
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
