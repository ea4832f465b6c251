"""Pairs of low-rank factors, which every function of this room takes.

Shape letters: E experts, R rank, I layer input, O layer output; ``*`` is any number of leading sizes, such as
layers and experts, over which functions are batched.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def match_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Check that two factors belong together, and bring both to one dtype fit for linear algebra.

    Args:
        a: down-projections, ``[*, R, I]``, of any floating dtype.
        b: up-projections, ``[*, O, R]``, of any floating dtype.

    Returns:
        Both factors in float64 if either is, else in float32. Factors in that dtype are not copied.

    Raises:
        ValueError: if the factors disagree on R or on a leading size.
    """
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-2] != b.shape[-1]:
        raise ValueError(
            "factors a [*, R, I] and b [*, O, R] must agree on R and on every leading size, "
            f"found a {list(a.shape)} and b {list(b.shape)}"
        )
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def pad_ranks(
    pairs: Sequence[tuple[Tensor, Tensor] | None], dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Stack the factors of several experts for one layer; smaller ranks are padded with zeros, exactly.

    Args:
        pairs: one ``(a [R_e, I], b [O, R_e])`` per expert; None for an expert without this layer.
        dtype: of the stacks; None for the narrowest one that represents every factor exactly.

    Returns:
        ``a [E, R, I]`` and ``b [E, O, R]``, where R is the largest rank. A None becomes zeros.

    Raises:
        ValueError: if all pairs are None, or two of them disagree on I or O.
    """
    present = [pair for pair in pairs if pair is not None]
    if not present:
        raise ValueError(
            f"at least one pair of factors is needed to stack them, found none among {len(pairs)}"
        )
    first_a, first_b = present[0]
    rank, inputs, outputs = max(a.shape[0] for a, _ in present), first_a.shape[1], first_b.shape[0]
    dtype = dtype or _common_dtype(present)
    stacked_a = torch.zeros(len(pairs), rank, inputs, dtype=dtype, device=first_a.device)
    stacked_b = torch.zeros(len(pairs), outputs, rank, dtype=dtype, device=first_a.device)
    for index, pair in enumerate(pairs):
        if pair is None:
            continue
        a, b = pair
        if a.shape != (b.shape[1], inputs) or b.shape != (outputs, a.shape[0]):
            raise ValueError(
                f"factors of one layer must be a [R, {inputs}] and b [{outputs}, R] as in the first pair, "
                f"found a {list(a.shape)} and b {list(b.shape)} at index {index}"
            )
        stacked_a[index, : a.shape[0]] = a
        stacked_b[index, :, : a.shape[0]] = b
    return stacked_a, stacked_b


def _common_dtype(pairs: Sequence[tuple[Tensor, Tensor]]) -> torch.dtype:
    dtype = pairs[0][0].dtype
    for a, b in pairs:
        dtype = torch.promote_types(torch.promote_types(dtype, a.dtype), b.dtype)
    return dtype
