"""Task singular vectors: each expert's leading singular directions, orthogonalised over the experts.

Shape letters: E experts, R rank, I layer input, O layer output, K directions in all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lorary.files import quote
from lorary.lowrank import thin_svd
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.orthogonal import nearest_orthonormal

# Singular values below this, relative to the expert's largest, are rounding errors with arbitrary vectors.
_SMALLEST = 1e-6


MOST_VECTORS = 2**20  # larger than any layer's width


@dataclass(frozen=True, kw_only=True)
class TsvConfig:
    """Options of ``tsv``."""

    num_vectors: int = 0
    """Number of singular vectors per expert and layer; 0 divides the merged expert's rank by the experts."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.num_vectors <= MOST_VECTORS:
            yield f"num_vectors must be in [0, {MOST_VECTORS:,}], found {quote(self.num_vectors)}"


def merge_tsv(layer: MergeLayer, config: TsvConfig) -> LowRank:
    """Keep each expert's leading singular vectors, orthogonalise them all, and multiply back.

    ``U = [U_1 ... U_E]`` and ``V = [V_1 ... V_E]`` are replaced by the nearest orthonormal matrices. The
    result is ``sum_e w_e s_e U_e V_e^T``, with default weight 1. It does not depend on the factorisation, and
    no weight change is formed. It is exact except for the final truncation. The merge of one expert is that
    expert.

    Source: Task Singular Vectors, arXiv:2412.00081.
    """
    found = [_leading_vectors(layer, expert) for expert in range(len(layer.pairs))]
    num_active = sum(len(s) > 0 for _, s, _ in found)
    if num_active == 0:
        a, b = layer.pairs[0]
        return LowRank(torch.zeros_like(a), torch.zeros_like(b))
    ranks = max(len(s) for _, s, _ in found) if layer.rank is None else layer.rank
    kept = config.num_vectors or max(1, ranks // num_active)
    left = nearest_orthonormal(torch.cat([u[:, :kept] for u, _, _ in found], 1))
    right = nearest_orthonormal(torch.cat([v[:, :kept] for _, _, v in found], 1))
    values = torch.cat([weight * s[:kept] for weight, (_, s, _) in zip(layer.weights, found, strict=True)])
    b = left * (config.scale * values)
    return LowRank(right.mT.to(layer.dtype), b.to(layer.dtype))


def _leading_vectors(layer: MergeLayer, expert: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute an expert's SVD ``[O, R]``, ``[R]``, ``[I, R]``, without singular values of rounding errors."""
    u, s, v = thin_svd(*layer.pairs[expert])
    count = int((s > _SMALLEST * s[0]).sum())
    return u[:, :count], s[:count], v[:, :count]
