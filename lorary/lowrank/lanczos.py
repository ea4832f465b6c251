"""The leading right singular vectors of a wide matrix, for which computing all would take too long.

Shape letters: O rows and I columns of the matrix, R vectors to find, K vectors of the search space.
"""

import torch
from torch import Tensor

# The search ends when one more block adds less than this to the kept energy, relative to it. Measured on
# gaussian matrices, the hardest ones: the kept energy is then below the maximum by 3e-6.
_TOLERANCE = 1e-5


def leading_right_space(matrix: Tensor, rank: int) -> Tensor:
    """Find the R directions that keep most of a matrix's energy, by block Lanczos with Rayleigh-Ritz.

    The space ``[x, G x, G^2 x, ...]`` with ``G = matrix^T matrix`` grows by R vectors at a time, each block
    orthogonal to all before it; the best R directions within it are taken. It starts from gaussian vectors of
    a fixed seed, so the same matrix gives the same result, and a space of full size is exact.

    Args:
        matrix: ``[O, I]``, float32 or float64, not zero.
        rank: R, at most I.

    Returns:
        Orthonormal columns ``[I, R]``, float64, in descending order of their singular values.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], rank, generator=generator, dtype=torch.float64)
    block = torch.linalg.qr(start.to(matrix.device))[0]
    space, images = block, _multiply(matrix, block)
    gram = images.mT @ images
    kept = 0.0
    while True:
        values, vectors = torch.linalg.eigh(gram)
        now = values[-rank:].sum().item()
        if now - kept <= _TOLERANCE * now or space.shape[1] + rank > matrix.shape[1]:
            return space @ vectors[:, -rank:].flip(1)
        kept = now
        block = _make_orthonormal(_multiply(matrix.mT, images[:, -rank:]), space)
        image = _multiply(matrix, block)
        beside, own = images.mT @ image, image.mT @ image
        gram = torch.cat([torch.cat([gram, beside], 1), torch.cat([beside.mT, own], 1)])
        space, images = torch.cat([space, block], 1), torch.cat([images, image], 1)


def _multiply(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Multiply in the matrix's dtype, which takes most of the time; the small rest runs in float64."""
    return (matrix @ vectors.to(matrix.dtype)).double()


def _make_orthonormal(block: Tensor, space: Tensor) -> Tensor:
    """Make the columns of a block orthonormal, and orthogonal to those of ``space [I, K]``."""
    # Twice is enough: after the second time the remaining rounding errors are negligible.
    for _ in range(2):
        block = torch.linalg.qr(block - space @ (space.mT @ block))[0]
    return block
