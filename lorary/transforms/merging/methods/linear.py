"""The weighted sum of weight changes."""

from dataclasses import dataclass

from lorary.lowrank import weighted_sum
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.weights import share_weights


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Options of ``linear`` and ``cat``."""

    normalize: bool = False
    """Divide the weights by their sum."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_linear(layer: MergeLayer, config: LinearConfig) -> LowRank:
    """Add the weight changes: ``sum_e w_e D_e``, with default weight ``1 / E``.

    The factors are concatenated, so the sum is exact for all ranks and factorisations, except for the final
    truncation (``cat`` does not truncate). The merge of one expert with weight 1 is that expert.

    Raises:
        ValueError: if ``normalize`` is set and the weights sum to zero.
    """
    weights = share_weights(layer) if config.normalize else layer.weights
    return LowRank(*weighted_sum(layer.pairs, weights))
