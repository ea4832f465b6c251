"""Iso-CTS: equal singular values, most directions common to the experts, the others of single experts.

Shape letters: E experts, S rank of the sum, K common directions, I layer input, O layer output.
"""

from dataclasses import dataclass

import torch

from lorary.lowrank import thin_svd
from lorary.transforms.merging.checks import check_share, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.iso import SMALLEST, decompose_sum
from lorary.transforms.merging.methods.orthogonal import nearest_orthonormal


@dataclass(frozen=True, kw_only=True)
class IsoCtsConfig:
    """Options of ``iso_cts``."""

    common: float = 0.8
    """Share of the sum's directions to keep; the others are replaced by directions of single experts."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self, check_share("common", self.common))


def merge_iso_cts(layer: MergeLayer, config: IsoCtsConfig) -> LowRank:
    """Keep the sum's leading directions, add leading directions of each expert, and equalise singular values.

    Of the sum's S singular directions, the first ``common * S`` are kept. Their outputs are projected out of
    each expert, whose first ``(1 - common) * S / E`` remaining singular directions are added. All directions
    are orthogonalised, and all singular values are replaced by their mean.

    The default weight is 1. The result does not depend on the factorisation, and no expert's weight change is
    formed. It is exact except for the final truncation, which removes the experts' own directions first: use
    a rank near the sum of the experts' ranks.

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
    # Input directions may be linearly dependent; then dropping the last ones is not the best truncation.
    is_sorted = all(_is_orthonormal(side) for side in (new_u, new_v))
    return LowRank(new_v.mT.to(layer.dtype), (level * new_u).to(layer.dtype), is_sorted)


def _is_orthonormal(columns: torch.Tensor) -> bool:
    identity = torch.eye(columns.shape[1], dtype=columns.dtype)
    return torch.allclose(columns.mT @ columns, identity, atol=1e-6)
