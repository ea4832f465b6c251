"""Inner products and norms of weight changes ``b @ a``, from small Gram matrices of their factors.

Shape letters: E experts, R rank, I layer input, O layer output; ``*`` is any number of leading sizes.
"""

import torch
from torch import Tensor

from lorary.lowrank.pairs import match_pair

_BLOCK_ROWS = 1024
"""Rows of factors whose products with all others are in memory at a time."""


def gram_inner(a: Tensor, b: Tensor) -> Tensor:
    """Compute all inner products ``<D_i, D_j>`` of the experts' weight changes ``D_e = b_e @ a_e``.

    Each is ``tr((b_j^T b_i)(a_i a_j^T))``, so all pairs of a layer come from two ``(E R) x (E R)`` Gram
    matrices. Experts of mixed ranks are stacked with zeros (see `pad_ranks`), which changes nothing.

    Args:
        a: down-projections, ``[*, E, R, I]``.
        b: up-projections, ``[*, E, O, R]``.

    Returns:
        A symmetric matrix ``[*, E, E]``: float64 if a factor is, else float32.

    Raises:
        ValueError: if the factors disagree on R or a leading size, or have no size E.
    """
    a, b = match_pair(a, b)
    if a.ndim < 3:
        raise ValueError(f"a must be [*, E, R, I], one pair of factors per expert, found {list(a.shape)}")
    experts, rank = a.shape[-3:-1]
    rows_a, rows_b = a.flatten(-3, -2), b.mT.flatten(-3, -2)
    inner = a.new_zeros(*a.shape[:-3], experts, experts)
    # Some experts at a time with those that follow: half the operations, and products of bounded size.
    step = max(1, _BLOCK_ROWS // max(1, rank))
    for start in range(0, experts, step):
        stop = min(start + step, experts)
        own, rest = slice(start * rank, stop * rank), slice(start * rank, None)
        products = (rows_a[..., own, :] @ rows_a[..., rest, :].mT).mul_(
            rows_b[..., own, :] @ rows_b[..., rest, :].mT
        )
        sums = products.unflatten(-1, (experts - start, rank)).sum(-1)
        inner[..., start:stop, start:] = sums.unflatten(-2, (stop - start, rank)).sum(-2)
    return inner.triu() + inner.triu(1).mT


def frobenius_norm(a: Tensor, b: Tensor) -> Tensor:
    """Compute the Frobenius norm of ``b @ a``; sums run in float64, since factors may nearly cancel.

    Args:
        a: down-projections, ``[*, R, I]``.
        b: up-projections, ``[*, O, R]``.

    Returns:
        Norms ``[*]``: float64 if a factor is, else float32.

    Raises:
        ValueError: if ``a`` and ``b`` disagree on R or a leading size.
    """
    a, b = match_pair(a, b)
    wide_a, wide_b = a.double(), b.double()
    squared = ((wide_a @ wide_a.mT) * (wide_b.mT @ wide_b)).sum((-2, -1))
    return torch.sqrt(squared.clamp(min=0)).to(a.dtype)
