"""RegMean: the weight change whose outputs are nearest to every expert's on its own inputs.

Shape letters: E experts, R rank, S sum of the ranks, I layer input, O layer output.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer


@dataclass(frozen=True, kw_only=True)
class RegmeanConfig:
    """Options of ``regmean``."""

    off_diagonal: float = 0.9
    """What the Gram matrices' numbers off the diagonal are multiplied with, below 1 against overfitting."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.off_diagonal <= 1:
            yield f"off_diagonal must lie in [0, 1], found {quote(self.off_diagonal)}"


def merge_regmean(layer: MergeLayer, config: RegmeanConfig) -> LowRank:
    """Minimise ``sum_e w_e |(M - D_e) X_e|^2`` for the inputs ``X_e`` that each expert saw in this layer.

    ``M = sum_e w_e D_e G_e (sum_e w_e G_e)^+`` with ``G_e = X_e X_e^T``, given as ``layer.grams``. Each
    weight is 1 unless given. Of the sum of the ranks and never formed as a matrix; exact but for the final
    cut to a rank, and independent of how weight changes are factored. One expert returns itself where its
    inputs span the layer's, as they do with ``off_diagonal`` below 1 if no input is always zero.

    Source: RegMean, arXiv:2212.09849.
    """
    assert layer.grams is not None
    total = torch.zeros(layer.shape[1], layer.shape[1], dtype=torch.float64)
    rows = []
    for (a, _), weight, gram in zip(layer.pairs, layer.weights, layer.grams, strict=True):
        wide = gram.double() * config.off_diagonal
        wide.diagonal().copy_(gram.diagonal())
        wide *= weight
        rows.append(a.double() @ wide)
        total += wide
    a = _divide(torch.cat(rows), total)
    return LowRank(a.to(layer.dtype), torch.cat([b for _, b in layer.pairs], 1))


def _divide(rows: Tensor, gram: Tensor) -> Tensor:
    """Multiply ``rows [S, I]`` by the pseudo-inverse of ``gram [I, I]``."""
    root, failures = torch.linalg.cholesky_ex(gram)
    lengths = root.diagonal()
    # A root this uneven comes from inputs that do not span the layer's, and is rounding in part.
    if not failures.any() and lengths.min() > 1e-6 * lengths.max():
        return torch.cholesky_solve(rows.mT, root).mT
    values, vectors = torch.linalg.eigh(gram)
    inverse = torch.where(values > 1e-12 * values[-1], 1 / values, 0.0)
    return ((rows @ vectors) * inverse) @ vectors.mT
