"""Iso-C: the sum of experts with all singular values equal.

Shape letters: S rank of the sum, I layer input, O layer output.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from lorary.lowrank import thin_svd, weighted_sum
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer

# Singular values below this, relative to the largest, are treated as rounding errors.
SMALLEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class IsoConfig:
    """Options of ``iso``."""

    over: Literal["all", "kept"] = "all"
    """Singular values to average: all of the sum, or those within the merged expert's rank."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_iso(layer: MergeLayer, config: IsoConfig) -> LowRank:
    """Add the weight changes and replace all singular values of the sum by their mean.

    The mean is over the rank of the sum, not over the layer's width. The result does not depend on the
    factorisation. It is exact except for the final truncation, which keeps the directions with the largest
    singular values of the sum. The default weight is 1. The merge of one expert is not that expert, because
    its singular values are averaged.

    Source: Isotropic merging, arXiv:2502.04959.
    """
    u, s, v = decompose_sum(layer)
    count = len(s) if config.over == "all" or layer.rank is None else min(layer.rank, len(s))
    level = config.scale * s[:count].mean()
    return LowRank(v[:, :count].mT, level * u[:, :count], is_sorted=True)


def decompose_sum(layer: MergeLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the SVD of the experts' weighted sum: ``u [O, S]``, ``s [S]``, ``v [I, S]``.

    Singular values of rounding errors are left out. S is at least 1; a sum of zero has the singular value 0.
    """
    a, b = weighted_sum(layer.pairs, layer.weights)
    # With more ranks than the layer's width, the dense SVD is smaller than that of the factors.
    if a.shape[0] > min(layer.shape):
        u, s, vh = torch.linalg.svd(b @ a, full_matrices=False)
        v = vh.mT
    else:
        u, s, v = thin_svd(a, b)
    count = max(1, int((s > SMALLEST * s[0]).sum()))
    return u[:, :count], s[:count], v[:, :count]
