"""Pairs in blocks of one expert each; see ``triton_blocks.py``.

A program works on B pairs, or on N blocks of P pairs each, of E owners, padded to a power of two.
"""

import triton
import triton.language as tl


@triton.jit
def key_kernel(
    indices,
    weights,
    keys,
    num_pairs,
    num_tokens,
    num_experts,
    top_k,
    LEAVES: tl.constexpr,
    B: tl.constexpr,
):
    """B pairs: the owner of each, keys[choice, token]; with LEAVES pairs of weight 0 are left out."""
    pair = tl.program_id(0) * B + tl.arange(0, B)
    is_pair = pair < num_pairs
    expert = tl.load(indices + pair, is_pair, 0)
    owner = expert
    if LEAVES:
        owner = tl.where(tl.load(weights + pair, is_pair, 0.0) == 0, num_experts, owner)
    owner = tl.where((expert >= 0) & (expert < num_experts), owner, num_experts + 1)
    tl.store(keys + pair % top_k * num_tokens + pair // top_k, owner.to(tl.int32), is_pair)


@triton.jit
def cut_kernel(
    keys,
    owners,
    starts,
    ends,
    num_tokens,
    num_owners,
    num_blocks,
    halvings,
    P: tl.constexpr,
    E: tl.constexpr,
    N: tl.constexpr,
):
    """N blocks of one choice: their owners, where they start, where their owner's places end."""
    choice = tl.program_id(0)
    owner = tl.arange(0, E)
    own = keys + choice * num_tokens
    begin = count_below(own, owner, num_tokens, halvings)
    end = count_below(own, owner + 1, num_tokens, halvings)
    begin = tl.where(owner < num_owners, begin, end)
    used = (end - begin + P - 1) // P
    last = tl.cumsum(used, 0)
    block = tl.program_id(1) * N + tl.arange(0, N)
    found = tl.sum((last[None, :] <= block[:, None]).to(tl.int32), 1)
    is_found = owner[None, :] == found[:, None]
    start = block * P + tl.sum(tl.where(is_found, (begin - (last - used) * P)[None, :], 0), 1)
    at, is_block = choice * num_blocks + block, block < num_blocks
    tl.store(owners + at, found, is_block)
    tl.store(starts + at, start, is_block)
    tl.store(ends + at, tl.sum(tl.where(is_found, end[None, :], 0), 1), is_block)


@triton.jit
def count_below(keys, bounds, num_keys, halvings):
    """The number of sorted keys below each bound."""
    count = tl.zeros_like(bounds)
    rest = count + num_keys
    for _ in range(halvings):
        middle = (count + rest) // 2
        is_open = count < rest
        is_below = is_open & (tl.load(keys + middle, is_open, 0) < bounds)
        count = tl.where(is_below, middle + 1, count)
        rest = tl.where(is_open & (is_below == 0), middle, rest)
    return count
