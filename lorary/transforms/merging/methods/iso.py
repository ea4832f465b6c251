"""Iso-C: the sum of experts with all its directions equally strong.

Shape letters: S rank of the sum, I layer input, O layer output.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from lorary.lowrank import thin_svd, weighted_sum
from lorary.transforms.merging.checks import check_finite_number, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer

# Singular values below this, relative to the largest, are rounding.
SMALLEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class IsoConfig:
    """Options of ``iso``."""

    over: Literal["all", "kept"] = "all"
    """Singular values to average: all of the sum's, or those that the merged expert's rank keeps."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_finite_number("scale", self.scale)


def merge_iso(layer: MergeLayer, config: IsoConfig) -> LowRank:
    """Add the weight changes and replace the sum's singular values by their mean.

    Each weight is 1 unless given. Works on the sum's singular vectors, which do not depend on how it is
    factored, and forms no weight change; exact but for the final cut to a rank, which keeps the directions in
    which the sum was strongest. The mean is over the sum's rank, not the layer's width. One expert does not
    return itself: its singular values are averaged too.

    Source: Isotropic merging, arXiv:2502.04959.
    """
    u, s, v = decompose_sum(layer)
    count = len(s) if config.over == "all" or layer.rank is None else min(layer.rank, len(s))
    level = config.scale * s[:count].mean()
    return LowRank(v[:, :count].mT, level * u[:, :count], is_sorted=True)


def decompose_sum(layer: MergeLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decompose the experts' weighted sum: ``u [O, S]``, ``s [S]`` and ``v [I, S]`` without what is rounding.

    At least one singular value is given, which is 0 if the sum is.
    """
    a, b = weighted_sum(layer.pairs, layer.weights)
    if a.shape[0] > min(layer.shape):
        u, s, vh = torch.linalg.svd(b @ a, full_matrices=False)
        v = vh.mT
    else:
        u, s, v = thin_svd(a, b)
    count = max(1, int((s > SMALLEST * s[0]).sum()))
    return u[:, :count], s[:count], v[:, :count]
