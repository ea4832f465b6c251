"""The steps in rank space between shrinking and expanding, in Triton, for one token or for many."""

import triton
import triton.language as tl


@triton.jit
def find_rank(ranks, expert, is_known, rank, MIXED: tl.constexpr):
    """The number of its R rows that an expert uses: with MIXED that of ``ranks``, at most R."""
    own = rank
    if MIXED:
        said = tl.load(ranks + expert, is_known, 0)
        own = tl.maximum(tl.minimum(said, rank), 0).to(tl.int32)
    return own


@triton.jit
def weigh(
    shrunk,
    weights,
    token,
    choice,
    r,
    is_number,
    rank,
    top_k,
    WEIGHS: tl.constexpr,
    FACTORS: tl.constexpr,
):
    """Return the vectors in rank space from which the outputs of one choice's experts are computed.

    With FACTORS the weighted sum over all choices; with WEIGHS times the choice's own weight. ``token``
    is one number or a column, ``r`` a row of places in rank space, ``is_number`` a mask of both.
    """
    if FACTORS:
        numbers = tl.zeros_like(is_number).to(shrunk.dtype.element_ty)
        for other in range(top_k):
            pair = token * top_k + other
            weight = tl.load(weights + pair)
            number = tl.load(shrunk + pair * rank + r, is_number, 0.0)
            # Values that are left out were not written.
            numbers += tl.where(weight != 0, weight * number, 0.0)
    else:
        numbers = tl.load(shrunk + (token * top_k + choice) * rank + r, is_number, 0.0)
    if WEIGHS:
        numbers = tl.load(weights + token * top_k + choice) * numbers
    return numbers
