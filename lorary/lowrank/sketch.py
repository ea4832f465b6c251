"""Weight changes ``b @ a`` as a few numbers each, whose inner products approximate those of the changes.

Shape letters: N pairs of factors, R rank, I layer input, O layer output, S directions on a side.
"""

import torch
from torch import Tensor

from lorary.lowrank.pairs import match_pair


def sketch_pairs(a: Tensor, b: Tensor, size: int, seed: int = 0) -> Tensor:
    """Measure each ``D = b @ a`` by ``u^T D v / S`` for all pairs of S random ``u`` and S random ``v``.

    The directions have independent entries ±1, so that the inner product of two sketches has the mean
    ``<D_i, D_j>``. For changes that have little in common its error decreases as 1 / S, as with
    S² separate pairs of directions, at the cost of S. Changes that are compared need the same seed.

    Args:
        a: down-projections, ``[N, R, I]``.
        b: up-projections, ``[N, O, R]``.
        size: S.
        seed: of the directions.

    Returns:
        ``[N, S²]``, float32, or float64 where a factor is.

    Raises:
        ValueError: if ``size`` is below 1.

    Source: Johnson-Lindenstrauss on both sides of a matrix, with the directions of Achlioptas (2003).
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, found {size!r}")
    a, b = match_pair(a, b)
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> Tensor:
        signs = torch.randint(0, 2, (width, size), generator=generator, dtype=torch.int8)
        return (2 * signs - 1).to(a.device, a.dtype)

    along_inputs = a @ draw(a.shape[-1])  # [N, R, S]
    along_outputs = b.mT @ draw(b.shape[-2])
    return (along_outputs.mT @ along_inputs).flatten(1) / size
