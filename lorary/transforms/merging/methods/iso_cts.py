"""Iso-CTS: equally strong directions, most of them common, the others each expert's own.

Shape letters: E experts, S rank of the sum, K common directions, I layer input, O layer output.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lorary.lowrank import thin_svd
from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.iso import SMALLEST, decompose_sum
from lorary.transforms.merging.methods.orthogonal import nearest_orthonormal


@dataclass(frozen=True, kw_only=True)
class IsoCtsConfig:
    """Options of ``iso_cts``."""

    common: float = 0.8
    """Share of the sum's directions that are kept; the others give way to the experts' own."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("common", self.common)
        yield from check_finite_number("scale", self.scale)


def merge_iso_cts(layer: MergeLayer, config: IsoCtsConfig) -> LowRank:
    """Keep the sum's strongest directions, add what experts have outside them, make all equally strong.

    Of the sum's S directions the first ``common * S`` stay. What is left of an expert when its outputs along
    them are taken away gives its strongest ``(1 - common) * S / E`` directions. All are made orthogonal;
    their singular values become the mean of all. Each weight is 1 unless given. Works on singular vectors,
    which do not depend on how weight changes are factored, and never forms an expert's; exact but for the
    final cut to a rank, which keeps common directions first: give a rank near the sum of the experts'.

    Source: Isotropic merging, arXiv:2502.04959.
    """
    u, s, v = decompose_sum(layer)
    num_common = max(1, round(config.common * len(s)))
    num_own = (len(s) - num_common) // len(layer.pairs)
    left, values, right = [u[:, :num_common]], [s[:num_common]], [v[:, :num_common]]
    for (a, b), weight in zip(layer.pairs, layer.weights, strict=True):
        own_u, own_s, own_v = thin_svd(a, weight * (b - left[0] @ (left[0].mT @ b)))
        count = min(num_own, int((own_s > SMALLEST * s[0]).sum()))
        left.append(own_u[:, :count])
        values.append(own_s[:count])
        right.append(own_v[:, :count])
    level = config.scale * torch.cat(values).mean()
    new_u, new_v = nearest_orthonormal(torch.cat(left, 1)), nearest_orthonormal(torch.cat(right, 1))
    # Directions of V may depend on each other; then cutting off the last would not be the best cut.
    is_sorted = all(_is_orthonormal(side) for side in (new_u, new_v))
    return LowRank(new_v.mT.to(layer.dtype), (level * new_u).to(layer.dtype), is_sorted)


def _is_orthonormal(columns: torch.Tensor) -> bool:
    identity = torch.eye(columns.shape[1], dtype=columns.dtype)
    return torch.allclose(columns.mT @ columns, identity, atol=1e-6)
