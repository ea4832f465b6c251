"""Task singular vectors: each expert's strongest directions, made orthogonal to each other.

Shape letters: E experts, R rank, I layer input, O layer output, K directions in all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lorary.files import quote
from lorary.lowrank import thin_svd
from lorary.transforms.merging.checks import check_finite_number, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.orthogonal import nearest_orthonormal

# Singular values below this, relative to the expert's largest, are rounding: their vectors are arbitrary.
_SMALLEST = 1e-6


MOST_VECTORS = 2**20  # far above any layer's width


@dataclass(frozen=True, kw_only=True)
class TsvConfig:
    """Options of ``tsv``."""

    num_vectors: int = 0
    """Singular vectors kept per expert in a layer; 0 shares the merged expert's rank out among them."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.num_vectors <= MOST_VECTORS:
            yield f"num_vectors must lie in [0, {MOST_VECTORS:,}], found {quote(self.num_vectors)}"
        yield from check_finite_number("scale", self.scale)


def merge_tsv(layer: MergeLayer, config: TsvConfig) -> LowRank:
    """Keep each expert's strongest singular vectors, make them all orthogonal, and multiply back.

    With ``U = [U_1 ... U_E]`` and ``V`` likewise replaced by the nearest orthonormal matrices, the result is
    ``sum_e w_e s_e U_e V_e^T``, where each weight is 1 unless given. Works on the weight changes' singular
    vectors, which do not depend on how they are factored, and never forms a weight change; exact but for the
    final cut to a rank. One expert returns itself.

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
    """Find an expert's singular vectors and values that mean something: ``[O, R]``, ``[R]``, ``[I, R]``."""
    u, s, v = thin_svd(*layer.pairs[expert])
    count = int((s > _SMALLEST * s[0]).sum())
    return u[:, :count], s[:count], v[:, :count]
