"""NuSLERP: spherical interpolation by weights, of whole layers or of their rows or columns.

Shape letters: R rank, I layer input, O layer output.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.experts import Factors
from lorary.lowrank import gram_inner
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer

# If the sum of the weights is below this, they are treated as equal, as in mergekit.
_NOTHING = 1e-6
# Vectors whose squared sine is at most this are treated as parallel.
_STRAIGHT = 1e-12


@dataclass(frozen=True, kw_only=True)
class NuslerpConfig:
    """Options of ``nuslerp``."""

    flatten: bool = True
    """Interpolate a layer as one vector; otherwise each output's weights are a vector."""
    row_wise: bool = False
    """Without ``flatten``: each input's weights are a vector."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_nuslerp(layer: MergeLayer, config: NuslerpConfig) -> LowRank:
    """Interpolate between two weight changes along the arc, at ``t = w_2 / (w_1 + w_2)``.

    The result is ``(sin((1-t) w) D_1 + sin(t w) D_2) / sin w`` with the angle ``w``, without normalising the
    two first. If they are parallel, opposite, or one is zero, the interpolation is linear. Angles are from
    exact inner products, and no weight change is formed. It is exact except for the final truncation. It
    merges two experts; by default the weights are equal.

    Source: mergekit 0.1.5.
    """
    total = sum(layer.weights)
    t = 0.5 if abs(total) < _NOTHING else layer.weights[1] / total
    products = _measure(layer.pairs, config)
    shares = [share.to(layer.dtype) for share in _compute_shares(products, t)]
    along_inputs = config.row_wise and not config.flatten
    parts = [
        Factors(pair.a * share, pair.b) if along_inputs else Factors(pair.a, share.unsqueeze(-1) * pair.b)
        for pair, share in zip(layer.pairs, shares, strict=True)
    ]
    return LowRank(torch.cat([part.a for part in parts]), torch.cat([part.b for part in parts], 1))


def _measure(pairs: tuple[Factors, ...], config: NuslerpConfig) -> Tensor:
    """Compute the inner products of the vectors to interpolate, ``[*, 2, 2]``."""
    a, b = (factor.double() for factor in pad_ranks(pairs))
    if config.flatten:
        return gram_inner(a, b)[None]
    if config.row_wise:
        between = torch.einsum("eor,fos->efrs", b, b)
        return torch.einsum("eri,efrs,fsi->ief", a, between, a)
    between = torch.einsum("eri,fsi->efrs", a, a)
    return torch.einsum("eor,efrs,fos->oef", b, between, b)


def _compute_shares(products: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Compute the coefficients of the two vectors, ``[*]`` and ``[*]``."""
    norms = products.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt().prod(-1)
    cosine = (products[..., 0, 1] / norms.where(norms > 0, 1.0)).clamp(-1, 1).where(norms > 0, 1.0)
    is_straight = 1 - cosine.square() <= _STRAIGHT
    angle = cosine.masked_fill(is_straight, 0.0).arccos()
    first = (((1 - t) * angle).sin() / angle.sin()).masked_fill(is_straight, 1 - t)
    return first, ((t * angle).sin() / angle.sin()).masked_fill(is_straight, t)
