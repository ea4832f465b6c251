"""RegMean: the weight change whose outputs are nearest to each expert's outputs on the expert's inputs.

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
    """Factor of the off-diagonal entries of the Gram matrices; less than 1 reduces overfitting."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.off_diagonal <= 1:
            yield f"off_diagonal must be in [0, 1], found {quote(self.off_diagonal)}"


def merge_regmean(layer: MergeLayer, config: RegmeanConfig) -> LowRank:
    """Minimise ``sum_e w_e |(M - D_e) X_e|^2`` for each expert's inputs ``X_e`` of this layer.

    ``M = sum_e w_e D_e G_e (sum_e w_e G_e)^+`` with ``G_e = X_e X_e^T``, given as ``layer.grams``. Its rank
    is the sum of the ranks; it is not formed as a matrix and does not depend on the factorisation. It is
    exact except for the final truncation. The default weight is 1. The merge of one expert is that expert if
    its Gram matrix is invertible, as with ``off_diagonal`` below 1 if no input is always zero.

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
    # With such a range of the diagonal, the matrix is nearly singular and Cholesky is not accurate.
    if not failures.any() and lengths.min() > 1e-6 * lengths.max():
        return torch.cholesky_solve(rows.mT, root).mT
    values, vectors = torch.linalg.eigh(gram)
    inverse = torch.where(values > 1e-12 * values[-1], 1 / values, 0.0)
    return ((rows @ vectors) * inverse) @ vectors.mT
