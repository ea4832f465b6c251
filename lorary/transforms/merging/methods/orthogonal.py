"""Orthogonalising directions of several experts, with the smallest change of the directions.

Shape letters: W width, K directions.
"""

import torch
from torch import Tensor


def nearest_orthonormal(directions: Tensor) -> Tensor:
    """Compute the nearest matrix with orthonormal columns (the orthogonal Procrustes problem).

    Args:
        directions: ``[W, K]``, columns of about unit length.

    Returns:
        ``U V^T [W, K]`` of the singular value decomposition ``U S V^T``, float64. If the columns are linearly
        dependent, or there are more than W, ``U V^T`` has only the directions with nonzero singular values;
        equal columns then share one direction.
    """
    # U V^T = X (X^T X)^(-1/2), from the eigenvectors of the small Gram matrix [K, K].
    wide = directions.double()
    squared, vectors = torch.linalg.eigh(wide.mT @ wide)
    smallest = 4 * len(squared) * torch.finfo(wide.dtype).eps * squared[-1]
    inverse = torch.where(squared > smallest, squared.clamp(min=smallest).rsqrt(), 0.0)
    return wide @ ((vectors * inverse) @ vectors.mT)
