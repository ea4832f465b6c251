"""Weight changes ``b @ a`` as a few numbers each, whose inner products are nearly those of the changes.

Shape letters: E experts, R rank, I layer input, O layer output, S numbers of a sketch.
"""

import torch
from torch import Tensor


def sketch_pairs(a: Tensor, b: Tensor, size: int, seed: int = 0) -> Tensor:
    """Measure each expert's ``D = b @ a`` by ``u_s^T D v_s`` along S pairs of random directions.

    The directions have independent entries ±1, so that the inner product of two experts' numbers has the mean
    ``<D_i, D_j>``; its error falls as one over the root of S. Experts that are to be compared need the same
    seed.

    Args:
        a: down-projections, ``[E, R, I]``.
        b: up-projections, ``[E, O, R]``.
        size: S.
        seed: of the directions.

    Returns:
        ``[E, S]``, float32, or float64 where a factor is.

    Raises:
        ValueError: if ``size`` is below 1.

    Source: Johnson-Lindenstrauss for rank-one measurements; the directions are those of Achlioptas (2003).
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, found {size!r}")
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> Tensor:
        signs = torch.randint(0, 2, (width, size), generator=generator, dtype=torch.int8)
        return (2 * signs - 1).to(a.device, a.dtype)

    along_inputs = a @ draw(a.shape[-1])  # [E, R, S]
    along_outputs = b.mT @ draw(b.shape[-2])
    return (along_inputs * along_outputs).sum(-2) / size**0.5
