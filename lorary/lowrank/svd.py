"""The singular value decomposition of ``b @ a``, without forming the product.

Shape letters: R rank, I layer input, O layer output; ``*`` is any number of leading sizes.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from lorary.lowrank.pairs import match_pair


def thin_svd(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decompose ``b @ a`` as ``u diag(s) v^T`` from two thin QRs and the SVD of a small core.

    With ``a^T = Q_a R_a`` and ``b = Q_b R_b``, the core ``R_b R_a^T`` has the same singular values, and its
    singular vectors become those of ``b @ a`` through ``Q_b`` and ``Q_a``. The cost is O((I + O) R^2).

    Args:
        a: down-projections, ``[*, R, I]``.
        b: up-projections, ``[*, O, R]``.

    Returns:
        ``u [*, O, R]``, ``s [*, R]`` in descending order and ``v [*, I, R]``: float64 if a factor is, else
        float32. The columns of ``u`` and ``v`` are orthonormal up to the ``min(R, I, O)``-th; where the rank
        is above a width, those after it are zero, as are their singular values.

    Raises:
        ValueError: if ``a`` and ``b`` disagree on R or a leading size.
    """
    a, b = match_pair(a, b)
    basis_a, core_a = torch.linalg.qr(a.mT)
    basis_b, core_b = torch.linalg.qr(b)
    u, s, vh = torch.linalg.svd(core_b @ core_a.mT, full_matrices=False)
    missing = a.shape[-2] - s.shape[-1]
    return pad(basis_b @ u, (0, missing)), pad(s, (0, missing)), pad(basis_a @ vh.mT, (0, missing))
