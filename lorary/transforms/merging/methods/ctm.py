"""Compress-then-Merge: another method, applied within input and output subspaces of the merged rank.

Shape letters: E experts, R rank, K rank of the merged expert, I layer input, O layer output, N and M
directions of the inputs and outputs that any expert uses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lorary.experts import Factors
from lorary.files import quote
from lorary.lowrank import core_space, frobenius_norm
from lorary.lowrank.core import input_basis, output_basis
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.budget import choose_rank
from lorary.transforms.merging.methods.inner import check_inner, find_inner, find_inner_config
from lorary.transforms.merging.spaces import factor_dense, form_dense

# As in the authors' code: the iteration ends when the relative error changes by less.
_TOLERANCE = 1e-6
MOST_STEPS = 100_000


@dataclass(frozen=True, kw_only=True)
class CtmConfig:
    """Options of ``ctm``; options of the inner method may also be given directly."""

    inner: str = "ties"
    """Method that merges the experts within the subspaces."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the inner method."""
    beta: float = 0.0
    """Influence of an expert's norm on the subspaces: 0 counts all experts alike, 1 keeps their norms."""
    num_steps: int = 1000
    """Largest number of steps of the iteration that finds the subspaces."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())
        check_inner("ctm", self)

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.beta <= 1:
            yield f"beta must be in [0, 1], found {quote(self.beta)}"
        if not 1 <= self.num_steps <= MOST_STEPS:
            yield f"num_steps must be in [1, {MOST_STEPS:,}], found {quote(self.num_steps)}"


def merge_ctm(layer: MergeLayer, config: CtmConfig) -> LowRank:
    """Project all experts onto ``U C_e V^T`` with common U and V of rank K, merge the C_e, multiply back.

    K is the merged expert's rank; without a fixed rank it is the largest of the experts' ranks. U and V
    minimise ``sum_e |x_e (D_e - U C_e V^T)|^2`` (a Tucker decomposition, by alternating steps from singular
    vectors), where x_e makes the norms equal, or more equal, by ``beta``. So the result has rank K and is not
    truncated. The projection loses whatever is outside the K directions: the merge is exact only if K is as
    large as the space of all experts. No weight change is formed. Experts of weight 0 do not influence U and
    V. Default weights are those of the inner method.

    Source: Compress then Merge, arXiv:2606.03723.
    """
    space = core_space(layer.pairs)
    cores = [Factors(a, b) for a, b in space.pairs]
    lengths = _choose_lengths(cores, layer.weights, config.beta)
    left, right = find_subspaces(cores, lengths, choose_rank(layer), config.num_steps)
    inside = tuple(Factors((a @ right).to(layer.dtype), (left.mT @ b).to(layer.dtype)) for a, b in cores)
    change = find_inner(config).merge(replace(layer, pairs=inside), find_inner_config(config))
    a, b, _ = factor_dense(form_dense(change))  # [K, K] each
    outer_a, outer_b = space.basis_a @ right, space.basis_b @ left
    return LowRank((a.double() @ outer_a.mT).to(layer.dtype), (outer_b @ b.double()).to(layer.dtype))


def _choose_lengths(pairs: Sequence[Factors], weights: Sequence[float], beta: float) -> list[float]:
    """Compute the factor ``x_e`` of each expert; 0 for experts of zeros or of weight 0."""
    norms = [
        frobenius_norm(a, b).item() if weight else 0.0 for (a, b), weight in zip(pairs, weights, strict=True)
    ]
    mean = sum(norms) / max(1, sum(norm > 0 for norm in norms))
    return [beta + (1 - beta) * mean / norm if norm else 0.0 for norm in norms]


def find_subspaces(
    pairs: Sequence[Factors], lengths: Sequence[float], rank: int, num_steps: int
) -> tuple[Tensor, Tensor]:
    """Find output and input subspaces of a rank that hold most of the energy of all experts together.

    Higher-order orthogonal iteration, from the leading singular vectors of all experts side by side.

    Args:
        pairs: factors ``(a [R, N], b [M, R])`` of each expert's core, float64.
        lengths: a factor for each expert's weight change.
        rank: K; less where M or N is.
        num_steps: largest number of steps.

    Returns:
        Orthonormal columns ``[M, K]`` and ``[N, K]``.
    """
    scaled = [(a, length * b) for (a, b), length in zip(pairs, lengths, strict=True)]
    total = sum(frobenius_norm(a, b).item() ** 2 for a, b in scaled)
    left, right = output_basis(scaled)[0][:, :rank], input_basis(scaled)[0][:, :rank]
    before = 2.0
    for _ in range(num_steps if total else 0):
        left = _lead(torch.cat([b @ (a @ right) for a, b in scaled], 1), rank)
        seen = torch.cat([a.mT @ (b.mT @ left) for a, b in scaled], 1)
        right = _lead(seen, rank)
        kept = (right.mT @ seen).square().sum().item()
        error = max(0.0, 1 - kept / total) ** 0.5
        if before - error < _TOLERANCE:
            break
        before = error
    return left, right


def _lead(columns: Tensor, rank: int) -> Tensor:
    """Find the leading left singular vectors of ``columns [M, S]``."""
    count = min(rank, len(columns))
    if columns.shape[0] <= columns.shape[1]:
        return torch.linalg.eigh(columns @ columns.mT).eigenvectors.flip(1)[:, :count]
    return torch.linalg.svd(columns, full_matrices=False).U[:, :count]
