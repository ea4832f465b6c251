"""The Karcher mean: the point of the unit sphere with the smallest squared arc lengths to all experts.

Shape letters: E experts.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.files import quote
from lorary.lowrank import gram_inner, weighted_sum
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.checks import check_finite_number, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer

MOST_STEPS = 10_000


@dataclass(frozen=True, kw_only=True)
class KarcherConfig:
    """Options of ``karcher``."""

    max_iter: int = 10
    """Maximum number of steps."""
    tol: float = 1e-5
    """Length of a step, in radians, below which the mean has converged."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.max_iter <= MOST_STEPS:
            yield f"max_iter must be in [0, {MOST_STEPS:,}], found {quote(self.max_iter)}"
        yield from check_finite_number("tol", self.tol)
        if self.tol < 0:
            yield f"tol must not be negative, found {quote(self.tol)}"


def merge_karcher(layer: MergeLayer, config: KarcherConfig) -> LowRank:
    """Compute the Karcher mean of the experts' unit directions, and scale it to their mean norm.

    Each iterate is a weighted sum of the experts, so all steps use the experts' exact inner products and no
    weight change is formed. It is exact except for the final truncation. It has no weights. The merge of one
    expert is that expert.

    Source: arXiv:2603.04972; mergekit 0.1.5.
    """
    a, b = (factor.double() for factor in pad_ranks(layer.pairs))
    products = gram_inner(a, b)
    norms = products.diagonal().clamp(min=0).sqrt()
    is_moving = norms > 0
    if not is_moving.any():
        return LowRank(*weighted_sum(layer.pairs, [0.0] * len(layer.pairs)))
    safe = norms.where(is_moving, 1.0)
    cosines = products / (safe[:, None] * safe[None, :])
    shares = is_moving.double() / is_moving.sum()
    mean = _walk_to_mean(cosines, shares, config)
    return LowRank(*weighted_sum(layer.pairs, (norms.mean() * mean / safe).tolist()))


def _walk_to_mean(cosines: Tensor, shares: Tensor, config: KarcherConfig) -> Tensor:
    """Compute the mean as coefficients ``[E]`` of unit directions with cosines ``[E, E]``."""
    mean, length = shares, _measure(shares, cosines)
    # If the arithmetic mean is zero, start from the first direction.
    if length <= config.tol:
        mean = torch.zeros_like(shares)
        mean[int(shares.nonzero()[0])] = 1.0
        length = 1.0
    mean = mean / length
    for _ in range(config.max_iter):
        dots = (cosines @ mean).clamp(-1, 1)
        angles = dots.arccos()
        # At an angle of pi the arc is not unique: the minimum avoids a division by zero.
        pulls = shares * angles / angles.sin().clamp(min=1e-12)
        pulls = pulls.where(angles >= config.tol, 0.0)
        # The mean of the logarithms at the current point: a tangent vector, along which the step is made.
        tangent = pulls - (pulls @ dots) * mean
        length = _measure(tangent, cosines)
        if length <= config.tol:
            break
        mean = math.cos(length) * mean + math.sin(length) / length * tangent
        mean = mean / _measure(mean, cosines)
    return mean


def _measure(coefficients: Tensor, cosines: Tensor) -> float:
    """Compute the norm of a weighted sum of unit directions."""
    return max(0.0, (coefficients @ cosines @ coefficients).item()) ** 0.5
