"""The weight change of one expert minus those of others."""

from dataclasses import dataclass

from lorary.lowrank import weighted_sum
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer


@dataclass(frozen=True, kw_only=True)
class SubtractConfig:
    """Options of ``subtract``."""

    scale: float = 1.0
    """Factor of the subtracted experts."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_subtract(layer: MergeLayer, config: SubtractConfig) -> LowRank:
    """Subtract the other experts from the first: ``w_1 D_1 - scale * sum_{e > 1} w_e D_e``.

    Uses are forgetting, and removing a general expert's weight change from that of a task. It is exact: the
    factors are concatenated, and by default nothing is truncated. The default weight is 1. The order of the
    experts matters.

    Source: GenKnowSub, arXiv:2505.10939.
    """
    first, *others = layer.weights
    return LowRank(*weighted_sum(layer.pairs, [first, *(-config.scale * weight for weight in others)]))
