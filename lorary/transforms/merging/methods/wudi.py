"""WUDI: the weight change with the least interference on the subspaces of the experts, without data.

Shape letters: R rank, S sum of the ranks, I layer input, O layer output.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lorary.files import quote
from lorary.lowrank import frobenius_norm, weighted_sum
from lorary.lowrank.root import gram_root
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import Change, LowRank, MergeLayer

# Eigenvalues of the linear system below this, relative to the largest, are treated as zero. They belong to
# directions with a millionth of the largest singular value, which rounding errors dominate.
_SMALLEST = 1e-12
MOST_STEPS = 100_000


@dataclass(frozen=True, kw_only=True)
class WudiConfig:
    """Options of ``wudi``."""

    solver: Literal["closed", "adam"] = "closed"
    """``closed`` computes the minimum; ``adam`` optimises as in the paper."""
    num_steps: int = 300
    """Number of steps of Adam."""
    learning_rate: float = 1e-5
    """Learning rate of Adam."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 1 <= self.num_steps <= MOST_STEPS:
            yield f"num_steps must be in [1, {MOST_STEPS:,}], found {quote(self.num_steps)}"
        if not 0 < self.learning_rate < float("inf"):
            yield f"learning_rate must be positive, found {quote(self.learning_rate)}"


def merge_wudi(layer: MergeLayer, config: WudiConfig) -> Change:
    """Minimise ``sum_e w_e |(M - D_e) D_e^T|^2 / |D_e|^2`` over the merged weight change M.

    The closed form is the minimum with the smallest norm, in the span of the factors. Its rank is the sum of
    the ranks; it is not formed as a matrix and does not depend on the factorisation. It is exact except for
    the final truncation. ``solver="adam"`` starts from the sum and optimises the dense M as in the paper.

    The default weight is 1; an expert whose weight change is zero has no influence. The merge of one expert
    is that expert.

    Source: WUDI-Merging, arXiv:2503.08099.
    """
    shares = [
        weight / squared if (squared := frobenius_norm(a.double(), b.double()).item() ** 2) else 0.0
        for (a, b), weight in zip(layer.pairs, layer.weights, strict=True)
    ]
    return _solve(layer, shares) if config.solver == "closed" else _descend(layer, shares, config)


def _solve(layer: MergeLayer, shares: list[float]) -> LowRank:
    """Solve for M: ``sum_e w_e D_e G_e (sum_e w_e G_e)^+`` with ``G_e = D_e^T D_e``."""
    rows, columns = [], []
    for (a, b), share in zip(layer.pairs, shares, strict=True):
        wide_a, wide_b = a.double(), b.double()
        root = gram_root((wide_b.mT @ wide_b)[None])[0]
        # share * G_e is the Gram matrix of rows [R, I]; share * D_e G_e is columns [O, R] times rows.
        rows.append(share**0.5 * (root.mT @ wide_a))
        columns.append(share**0.5 * (wide_b @ (wide_a @ wide_a.mT) @ root))
    stacked = torch.cat(rows)
    values, vectors = torch.linalg.eigh(stacked @ stacked.mT)
    inverse = torch.where(values > _SMALLEST * values[-1], 1 / values, 0.0)
    a = (vectors * inverse) @ (vectors.mT @ stacked)
    return LowRank(a.to(layer.dtype), torch.cat(columns, 1).to(layer.dtype))


def _descend(layer: MergeLayer, shares: list[float], config: WudiConfig) -> Tensor:
    """Optimise the dense M with Adam."""
    a, b = weighted_sum(layer.pairs, [1.0] * len(layer.pairs))
    merged = torch.nn.Parameter(b @ a)
    # sum_e w_e (M - D_e) D_e^T D_e, with D_e^T D_e = a_e^T (b_e^T b_e) a_e, as products of stacks
    rows = torch.cat([a for a, _ in layer.pairs])  # [S, I]
    targets = torch.cat([b @ (a @ a.mT) for a, b in layer.pairs], 1)  # [O, S]
    back = torch.cat([share * ((b.mT @ b) @ a) for (a, b), share in zip(layer.pairs, shares, strict=True)])
    optimizer = torch.optim.Adam([merged], lr=config.learning_rate)
    with torch.no_grad():
        for _ in range(config.num_steps):
            merged.grad = 2 * (merged @ rows.mT - targets) @ back
            optimizer.step()
    return merged.detach()
