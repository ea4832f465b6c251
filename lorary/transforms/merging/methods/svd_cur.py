"""SVD and CUR: shared directions by SVD, and the rest of each expert by its own rows and columns.

Shape letters: E experts, R rank, K shared directions, C rows and columns, I layer input, O layer output.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.experts import Factors
from lorary.files import quote
from lorary.lowrank import frobenius_norm, thin_svd
from lorary.lowrank.core import output_basis
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.budget import SMALLEST, choose_rank

MOST_LINES = 2**20  # larger than any layer's width


@dataclass(frozen=True, kw_only=True)
class SvdCurConfig:
    """Options of ``svd_cur``."""

    shared: float = 0.5
    """Share of the merged expert's rank that the shared directions have."""
    num_lines: int = 0
    """Rows and columns of each expert's rest; 0 divides the remaining rank by the experts, at least 1."""
    own_scale: float = 1.0
    """Factor of the experts' own parts, relative to the shared part."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.shared <= 1:
            yield f"shared must be in [0, 1], found {quote(self.shared)}"
        if not 0 <= self.num_lines <= MOST_LINES:
            yield f"num_lines must be in [0, {MOST_LINES:,}], found {quote(self.num_lines)}"
        if not abs(self.own_scale) < float("inf"):
            yield f"own_scale must be a finite number, found {quote(self.own_scale)}"


def merge_svd_cur(layer: MergeLayer, config: SvdCurConfig) -> LowRank:
    """Add the experts' parts in K shared output directions, and a CUR approximation of each expert's rest.

    The shared directions P are the K leading left singular vectors of ``[D_1 ... D_E]``. The rest of an
    expert, ``D_e - P P^T D_e``, is approximated by C of its rows and C of its columns, those of the largest
    leverage (squared norm in the C leading singular vectors), and the best matrix between them. The result
    is ``scale * sum_e w_e (P P^T D_e + own_scale * CUR_e)``, with default weight ``1 / E``.

    It does not depend on the factorisation, and no weight change is formed. It is exact only if C is as large
    as the rank of each expert's rest. Only the paper's abstract was available: the basis,
    the choice of rows and columns by leverage, the division of the rank and the weights are choices of
    lorary.

    Source: On the Representation Geometry of LoRA Model Merging, Findings of ACL 2026.
    """
    used = [
        pair for pair, weight in zip(layer.pairs, layer.weights, strict=True) if weight and is_change(pair)
    ]
    if not used:
        a, b = layer.pairs[0]
        return LowRank(torch.zeros_like(a), torch.zeros_like(b))
    rank = choose_rank(layer)
    count = min(rank, round(config.shared * rank))
    lines = config.num_lines or max(1, (rank - count) // len(used))
    basis = output_basis([(a.double(), b.double()) for a, b in used])[0][:, :count]
    # Rows of ``P^T D_e`` of all experts have the same columns P, so they add up to one part of rank K.
    rows, columns = [torch.zeros(basis.shape[1], layer.shape[1], dtype=torch.float64)], [basis]
    for (a, b), weight in zip(layer.pairs, layer.weights, strict=True):
        wide_a, wide_b = a.double(), b.double()
        inside = basis.mT @ wide_b
        rows[0] += weight * inside @ wide_a
        size = frobenius_norm(wide_a, wide_b).item()
        own_rows, own_columns = approximate_by_lines(wide_a, wide_b - basis @ inside, lines, SMALLEST * size)
        rows.append(own_rows)
        columns.append(config.own_scale * weight * own_columns)
    return LowRank(torch.cat(rows).to(layer.dtype), (config.scale * torch.cat(columns, 1)).to(layer.dtype))


def is_change(pair: Factors) -> bool:
    """Return whether an expert changes the layer."""
    return frobenius_norm(pair.a.double(), pair.b.double()).item() > 0


def approximate_by_lines(a: Tensor, b: Tensor, count: int, smallest: float) -> tuple[Tensor, Tensor]:
    """Approximate ``b @ a`` by some of its rows and columns: ``C (C^+ (b a) R^+) R``.

    Args:
        a: ``[R, I]``, float64.
        b: ``[O, R]``, float64.
        count: C, the number of rows and of columns; fewer if the rank is lower.
        smallest: singular values up to this are treated as zero.

    Returns:
        Rows ``[C, I]``, and columns times the matrix between them, ``[O, C]``.
    """
    u, s, v = thin_svd(a, b)
    count = min(count, int((s > smallest).sum()))
    outputs = _choose_largest(u[:, :count].square().sum(1), count)
    inputs = _choose_largest(v[:, :count].square().sum(1), count)
    rows, columns = b[outputs] @ a, b @ a[:, inputs]
    between = (torch.linalg.pinv(columns) @ b) @ (a @ torch.linalg.pinv(rows))
    return rows, columns @ between


def _choose_largest(leverage: Tensor, count: int) -> Tensor:
    return leverage.argsort(descending=True, stable=True)[:count]
