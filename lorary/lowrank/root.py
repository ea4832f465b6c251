"""Square roots of small Gram matrices.

Shape letters: R rank; N is any number of matrices.
"""

import torch
from torch import Tensor


def gram_root(gram: Tensor) -> Tensor:
    """Find ``c`` with ``c c^T = gram``, also for a singular Gram matrix.

    Args:
        gram: symmetric matrices without negative eigenvalues, ``[N, R, R]``, in float64 for a good root.

    Returns:
        Roots ``[N, R, R]`` of the same dtype: Cholesky factors where there are such. A zero row of ``gram``
        has a zero row.
    """
    lengths = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    # Rows and columns of unit length keep small ranks as exact as large ones; zero ones stay zero.
    inverse = torch.where(lengths > 0, 1 / lengths, 0.0)
    unit = gram * inverse[:, :, None] * inverse[:, None, :]
    unit.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    root, failures = torch.linalg.cholesky_ex(unit)
    failed = failures > 0
    if failed.any():
        # Deficient rank, as after a step or two of training: rounding has left no Cholesky factor.
        eigenvalues, eigenvectors = torch.linalg.eigh(unit[failed].nan_to_num())
        root[failed] = eigenvectors * eigenvalues.clamp(min=0).sqrt()[:, None, :]
    return root * lengths[:, :, None]
