"""The best approximation of a weight change by one of lower rank, and its error.

Shape letters: S rank before, R rank after, I layer input, O layer output.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lorary.lowrank.lanczos import leading_right_space
from lorary.lowrank.pairs import match_pair
from lorary.lowrank.root import gram_root
from lorary.lowrank.svd import thin_svd

# Above this rank two Gram matrices and an eigenproblem cost more than forming the product.
_MOST_RANKS = 512
# Up to this width all singular values of a product are computed, above it only the leading ones.
_MOST_COLUMNS = 320
# Factors nearly cancel if the squared norm of their product is smaller than theirs by this factor.
_CANCELLING = 1e-4


class Compressed(NamedTuple):
    """Factors of lower rank, and their error."""

    a: Tensor
    """``[R, I]``."""
    b: Tensor
    """``[O, R]``."""
    error: float
    """Relative truncation error in the Frobenius norm; 0 if nothing was truncated."""


def compress(a: Tensor, b: Tensor, *, rank: int | None = None, energy: float | None = None) -> Compressed:
    """Approximate ``b @ a`` by factors of lower rank.

    Up to rank 512, or the layer's width, this is the truncated singular value decomposition, from the
    factors' Gram matrices in float64; the product is never formed. Above, see `compress_dense`.

    Args:
        a: down-projection, ``[S, I]``.
        b: up-projection, ``[O, S]``.
        rank: R; a pair that has no higher rank is returned unchanged.
        energy: instead of a rank: the minimum share of the squared singular values to keep, in (0, 1].

    Returns:
        ``a [R, I]`` and ``b [O, R]``, each with the square root of every singular value, in float64 if a
        factor is, else float32; and the exact relative error.

    Raises:
        ValueError: if not exactly one of ``rank`` and ``energy`` is given, it is out of range, or the factors
            disagree on S.
    """
    _check_goal(rank, energy)
    a, b = match_pair(a, b)
    if rank is not None and a.shape[0] <= rank:
        return Compressed(a, b, 0.0)
    if a.shape[0] > min(_MOST_RANKS, a.shape[1], b.shape[0]):
        return compress_dense(b @ a, rank=rank, energy=energy)
    wide_a, wide_b = a.double(), b.double()
    gram_a, gram_b = wide_a @ wide_a.mT, wide_b.mT @ wide_b
    root = gram_root(gram_b[None])[0]
    # b @ a has the singular values of the S x S matrix root^T @ a.
    squared, vectors = torch.linalg.eigh(root.mT @ gram_a @ root)
    squared, vectors = squared.flip(0).clamp(min=0), vectors.flip(1)
    # The scale of the Gram matrices' rounding errors.
    scale = (gram_a.diagonal() * gram_b.diagonal()).sum()
    if squared[0] < _CANCELLING * scale:
        return _compress_by_qr(a, b, rank, energy)
    squared = squared.where(squared > 4 * torch.finfo(squared.dtype).eps * scale, 0.0)
    kept = _count_kept(squared, rank, energy)
    quarter = squared[:kept].pow(0.25)
    inverse = torch.where(quarter > 0, 1 / quarter, 0.0)
    into = root @ (vectors[:, :kept] * inverse)
    new_a, new_b = into.mT @ wide_a, (wide_b @ (gram_a @ into)) * inverse**2
    return Compressed(new_a.to(a.dtype), new_b.to(b.dtype), _relative_rest(squared, kept))


def _compress_by_qr(a: Tensor, b: Tensor, rank: int | None, energy: float | None) -> Compressed:
    """Truncate factors that nearly cancel, or are zero: three times as slow, but nothing is squared."""
    u, s, v = thin_svd(a.double(), b.double())
    kept = _count_kept(s.square(), rank, energy)
    half = s[:kept].sqrt()
    new_a, new_b = (v[:, :kept] * half).mT, u[:, :kept] * half
    return Compressed(new_a.to(a.dtype), new_b.to(b.dtype), _relative_rest(s.square(), kept))


def compress_dense(d: Tensor, *, rank: int | None = None, energy: float | None = None) -> Compressed:
    """Approximate a weight change by factors.

    All singular values are computed (from a Gram matrix in float64) if the narrower side has at most
    320 numbers, a large share of them is kept, or an energy is given. Otherwise only the leading ones
    are, by block Lanczos: the kept energy is then below the maximum by a few millionths. In both cases the
    error is that of the returned factors.

    Args:
        d: the weight change, ``[O, I]``, float32 or float64.
        rank: R; at most ``min(O, I)`` is used.
        energy: instead of a rank: the minimum share of the squared singular values to keep, in (0, 1].

    Returns:
        ``a [R, I]`` and ``b [O, R]``, each with half of every singular value, in the dtype of ``d``; and
        their relative error.

    Raises:
        ValueError: if not exactly one of ``rank`` and ``energy`` is given, or it is out of range.
    """
    _check_goal(rank, energy)
    if d.shape[0] < d.shape[1]:
        b, a, error = compress_dense(d.mT, rank=rank, energy=energy)
        return Compressed(a.mT.contiguous(), b.mT.contiguous(), error)
    width = d.shape[1]
    if not d.any():
        kept = 1 if rank is None else min(rank, width)
        return Compressed(d.new_zeros(kept, width), d.new_zeros(d.shape[0], kept), 0.0)
    if rank is not None and width > _MOST_COLUMNS and rank * 16 <= width:
        right = leading_right_space(d, rank)
    else:
        wide = d.double()
        squared, vectors = torch.linalg.eigh(wide.mT @ wide)
        kept = _count_kept(squared.flip(0).clamp(min=0), None if rank is None else min(rank, width), energy)
        right = vectors.flip(1)[:, :kept]
    image = d @ right.to(d.dtype)
    lengths = torch.linalg.vector_norm(image, dim=0, dtype=torch.float64)
    half = lengths.sqrt()
    b = image * torch.where(half > 0, 1 / half, 0.0).to(d.dtype)
    a = (right * half).mT.to(d.dtype).contiguous()
    return Compressed(a, b, _norm(d - b @ a) / _norm(d))


def _check_goal(rank: int | None, energy: float | None) -> None:
    if (rank is None) == (energy is None):
        raise ValueError(f"either a rank or an energy must be given, found {rank!r} and {energy!r}")
    if rank is not None and rank < 1:
        raise ValueError(f"a rank must be at least 1, found {rank!r}")
    if energy is not None and not 0 < energy <= 1:
        raise ValueError(f"an energy must be in (0, 1], found {energy!r}")


def _count_kept(squared: Tensor, rank: int | None, energy: float | None) -> int:
    """Count the singular values to keep, given their squares ``[S]`` in descending order; at least one."""
    if energy is None:
        assert rank is not None
        return rank
    total = squared.sum()
    reached = squared.cumsum(0) >= energy * total * (1 - 1e-12)
    return int(reached.float().argmax()) + 1


def _norm(d: Tensor) -> float:
    # Row by row in d's own dtype, which is fast, then over rows in float64, which is exact enough.
    rows = torch.linalg.vector_norm(d, dim=1)
    if not rows.isfinite().all():
        # The squares are too large for it.
        rows = torch.linalg.vector_norm(d, dim=1, dtype=torch.float64)
    return torch.linalg.vector_norm(rows.double()).item()


def _relative_rest(squared: Tensor, kept: int) -> float:
    total = squared.sum().item()
    return (squared[kept:].sum().item() / total) ** 0.5 if total else 0.0
