"""Model Stock: the mean of experts, scaled down with the angles between them.

Shape letters: E experts, R rank, O layer output.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from lorary.lowrank import gram_inner, weighted_sum
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer

# Smallest denominator, as in mergekit; below it the result is the base model.
_SINGULAR = 1e-6


@dataclass(frozen=True, kw_only=True)
class ModelStockConfig:
    """Options of ``model_stock``."""

    filter_wise: bool = False
    """Compute angles for each layer output instead of the whole layer."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_model_stock(layer: MergeLayer, config: ModelStockConfig) -> LowRank:
    """Multiply the mean of the weight changes by ``t = E c / (1 + (E - 1) c)``.

    ``c`` is the mean cosine of all pairs of experts, from exact inner products of the weight changes, which
    are not formed. It is exact except for the final truncation. It has no weights. The merge of equal experts
    is that expert; the merge of orthogonal experts is zero.

    Source: Model Stock, arXiv:2403.19522; mergekit 0.1.5.
    """
    count = len(layer.pairs)
    a, b = (factor.double() for factor in pad_ranks(layer.pairs))
    products = _multiply_rows(a, b) if config.filter_wise else gram_inner(a, b)
    share = _compute_share(products, count).to(layer.dtype)
    mean_a, mean_b = weighted_sum(layer.pairs, [1 / count] * count)
    return LowRank(mean_a, (share[:, None] if config.filter_wise else share) * mean_b)


def _multiply_rows(a: Tensor, b: Tensor) -> Tensor:
    """Compute the inner products of the weight changes' rows, ``[O, E, E]``."""
    between = torch.einsum("eri,fsi->efrs", a, a)
    return torch.einsum("eor,efrs,fos->oef", b, between, b)


def _compute_share(products: Tensor, count: int) -> Tensor:
    """Compute the factor of the mean, ``[*]``, from inner products ``[*, E, E]``."""
    norms = products.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    lengths = norms.unsqueeze(-1) * norms.unsqueeze(-2)
    cosines = (products / lengths.where(lengths > 0, 1.0)).clamp(-1, 1).where(lengths > 0, 0.0)
    pairs = list(combinations(range(count), 2))
    cosine = torch.stack([cosines[..., one, other] for one, other in pairs]).mean(0)
    denominator = 1 + (count - 1) * cosine
    is_singular = denominator.abs() < _SINGULAR
    return (count * cosine / denominator.masked_fill(is_singular, 1.0)).masked_fill(is_singular, 0.0)
