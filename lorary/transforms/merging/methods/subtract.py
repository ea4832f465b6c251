"""One expert without what others know."""

from collections.abc import Iterator
from dataclasses import dataclass

from lorary.lowrank import weighted_sum
from lorary.transforms.merging.checks import check_finite_number, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer


@dataclass(frozen=True, kw_only=True)
class SubtractConfig:
    """Options of ``subtract``."""

    scale: float = 1.0
    """What the others are multiplied with before they are taken away."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_finite_number("scale", self.scale)


def merge_subtract(layer: MergeLayer, config: SubtractConfig) -> LowRank:
    """Take the other experts away from the first: ``w_1 D_1 - scale * sum_{e > 1} w_e D_e``, weights 1.

    For forgetting, or for leaving a general expert's knowledge out of a task's. Works on the weight changes
    themselves. Exact: factors are put side by side and nothing is cut unless a rank is asked for. The order
    of the experts matters.

    Source: GenKnowSub, arXiv:2505.10939.
    """
    first, *others = layer.weights
    return LowRank(*weighted_sum(layer.pairs, [first, *(-config.scale * weight for weight in others)]))
