"""Square roots of small Gram matrices.

Shape letters: R rank; N is any number of matrices.
"""

import torch
from torch import Tensor


def gram_root(gram: Tensor) -> Tensor:
    """Find ``c`` with ``c c^T = gram``, also for a singular Gram matrix.

    Args:
        gram: symmetric matrices without negative eigenvalues, ``[N, R, R]``, in float64 for an accurate root.

    Returns:
        Roots ``[N, R, R]`` of the same dtype: Cholesky factors where they exist. A zero row of ``gram``
        gives a zero row.
    """
    lengths = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    # With rows and columns of unit norm, small ones are as exact as large ones; zero ones stay zero.
    inverse = torch.where(lengths > 0, 1 / lengths, 0.0)
    unit = gram * inverse[:, :, None] * inverse[:, None, :]
    unit.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    root, failures = torch.linalg.cholesky_ex(unit)
    failed = failures > 0
    if failed.any():
        # Deficient rank, as after one or two steps of training: with rounding there is no Cholesky factor.
        eigenvalues, eigenvectors = torch.linalg.eigh(unit[failed].nan_to_num())
        root[failed] = eigenvectors * eigenvalues.clamp(min=0).sqrt()[:, None, :]
    return root * lengths[:, :, None]
