"""Directions of several experts made orthogonal, each moved as little as possible.

Shape letters: W width, K directions.
"""

import torch
from torch import Tensor


def nearest_orthonormal(directions: Tensor) -> Tensor:
    """Find the orthonormal columns nearest to the given ones (the orthogonal Procrustes problem).

    Args:
        directions: ``[W, K]``, columns of about unit length.

    Returns:
        ``U V^T [W, K]`` for the singular value decomposition ``U S V^T``, float64. Where columns depend on
        each other, or are more than W, the rest of the space is left out: equal columns share their
        direction.
    """
    wide = directions.double()
    squared, vectors = torch.linalg.eigh(wide.mT @ wide)
    smallest = 4 * len(squared) * torch.finfo(wide.dtype).eps * squared[-1]
    inverse = torch.where(squared > smallest, squared.clamp(min=smallest).rsqrt(), 0.0)
    return wide @ ((vectors * inverse) @ vectors.mT)
