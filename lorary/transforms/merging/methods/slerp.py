"""Spherical interpolation between two experts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lorary.files import quote
from lorary.lowrank import gram_inner, weighted_sum
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer

# With a cosine above this, as in mergekit, weight changes are treated as parallel or opposite.
_STRAIGHT = 0.9995


@dataclass(frozen=True, kw_only=True)
class SlerpConfig:
    """Options of ``slerp``."""

    t: float = 0.5
    """Position between the first expert (0) and the second (1)."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.t <= 1:
            yield f"t must be in [0, 1], found {quote(self.t)}"


def merge_slerp(layer: MergeLayer, config: SlerpConfig) -> LowRank:
    """Interpolate between two weight changes along the arc: ``(sin((1-t) w) D_1 + sin(t w) D_2) / sin w``.

    ``w`` is the angle between the two in this layer, from their exact inner product. If they are parallel,
    opposite, or one is zero, the interpolation is linear. It is exact except for the final truncation. It
    merges two experts, without weights.

    Source: Shoemake, Animating rotation with quaternion curves, 1985.
    """
    a, b = pad_ranks(layer.pairs)
    inner = gram_inner(a.double(), b.double())
    norms = inner.diagonal().sqrt().prod().item()
    cosine = max(-1.0, min(1.0, inner[0, 1].item() / norms)) if norms else 1.0
    angle = math.acos(cosine)
    if abs(cosine) > _STRAIGHT:
        shares = [1 - config.t, config.t]
    else:
        shares = [math.sin((1 - config.t) * angle), math.sin(config.t * angle)]
        shares = [share / math.sin(angle) for share in shares]
    return LowRank(*weighted_sum(layer.pairs, shares))
