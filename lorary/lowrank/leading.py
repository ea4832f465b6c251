"""The leading right singular vector of ``b @ a``: the unit input that the product amplifies most.

Shape letters: R rank, I layer input, O layer output; ``*`` is any number of leading sizes, N their product.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from lorary.lowrank.pairs import match_pair
from lorary.lowrank.root import gram_root
from lorary.lowrank.svd import thin_svd

# A vector that rounding may have turned by more than this angle is computed again in float64. At 1e-3 the
# cosine with the exact vector is still 1 - 5e-7.
_TOLERATED_ANGLE = 1e-3
# Error of the small matrix in units of the dtype's epsilon and its natural scale; measured: below 0.8.
_ROUNDING = 2.0


def leading_right_singular(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Find the leading right singular vector of ``b @ a`` and its singular value, for many pairs at once.

    With ``b^T b = c c^T``, the largest eigenvalue of the small ``c^T (a a^T) c [R, R]`` is the squared
    singular value, and its eigenvector w gives ``a^T c w``, which points along the singular vector. So only
    two Gram matrices have a cost that grows with the layer. Squaring loses digits: if the eigenvalues show
    that rounding may have turned a vector (the two largest are almost equal, or the factors nearly cancel),
    the pair is computed again in float64, and if this is not sufficient by `thin_svd`.

    Args:
        a: down-projections, ``[*, R, I]``.
        b: up-projections, ``[*, O, R]``.

    Returns:
        Unit vectors ``v [*, I]`` and singular values ``s [*]``: float64 where a factor is, else float32. The
        sign of ``v`` is arbitrary, and so is ``v`` within its space where the two largest singular values are
        equal. Where ``a`` or ``b`` is zero, so are ``v`` and ``s``. Where a factor is not finite, or so large
        that its square overflows, both are NaN.

    Raises:
        ValueError: if ``a`` and ``b`` disagree on R or a leading size.
    """
    a, b = match_pair(a, b)
    batch, (rank, inputs) = a.shape[:-2], a.shape[-2:]
    a, b = a.reshape(-1, rank, inputs), b.reshape(-1, b.shape[-2], rank)
    gram_a, gram_b = (a @ a.mT).double(), (b.mT @ b).double()

    root = gram_root(gram_b)
    core = root.mT @ gram_a @ root
    is_finite = core.isfinite().all(-1).all(-1)
    eigenvalues, eigenvectors = torch.linalg.eigh(core.where(is_finite[:, None, None], 0.0))
    squared = eigenvalues[:, -1].clamp(min=0).where(is_finite, torch.nan)
    direction = root @ eigenvectors[:, :, -1:]
    # Unit length before float32: a small direction would vanish there.
    direction = normalize(direction, dim=1, eps=torch.finfo(torch.float64).tiny).to(a.dtype)
    v = normalize((direction.mT @ a).squeeze(1), dim=-1, eps=torch.finfo(torch.float32).tiny)
    v = v * squared.sign()[:, None].to(a.dtype)  # 0 for a product of zero, NaN for NaN
    s = squared.sqrt().to(a.dtype)

    doubtful = _doubtful(gram_a, gram_b, eigenvalues, torch.finfo(a.dtype).eps) & is_finite
    if doubtful.any():
        exact_v, exact_s = _decide(a[doubtful], b[doubtful])
        v[doubtful], s[doubtful] = exact_v.to(a.dtype), exact_s.to(a.dtype)
    return v.reshape(*batch, inputs), s.reshape(batch)


def _decide(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Find the leading vectors of the few pairs for which Gram matrices are not accurate enough."""
    if a.dtype != torch.float64:
        return leading_right_singular(a.double(), b.double())
    _, s, v = thin_svd(a, b)
    return v[..., 0], s[..., 0]


def _doubtful(gram_a: Tensor, gram_b: Tensor, eigenvalues: Tensor, epsilon: float) -> Tensor:
    """Return for which pairs, ``[N]``, rounding may have turned the leading vector too far."""
    if eigenvalues.shape[-1] == 1:
        return torch.zeros_like(eigenvalues[:, 0], dtype=torch.bool)
    # The rounding error of the core has about this norm; divided by the gap it bounds the angle.
    scale = (gram_a.diagonal(dim1=-2, dim2=-1) * gram_b.diagonal(dim1=-2, dim2=-1)).sum(-1)
    gap = eigenvalues[:, -1] - eigenvalues[:, -2]
    return _ROUNDING * epsilon * scale > _TOLERATED_ANGLE * gap
