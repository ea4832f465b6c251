"""Task arithmetic: the sum of experts, scaled."""

from dataclasses import dataclass

from lorary.lowrank import weighted_sum
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.weights import share_weights


@dataclass(frozen=True, kw_only=True)
class TaskArithmeticConfig:
    """Options of ``task_arithmetic``."""

    scale: float = 1.0
    """Factor of the sum (the paper's lambda, about 0.3 to 0.4 for 8 tasks)."""
    normalize: bool = False
    """Divide the weights by their sum."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_task_arithmetic(layer: MergeLayer, config: TaskArithmeticConfig) -> LowRank:
    """Add the weight changes and scale the sum: ``scale * sum_e w_e D_e``, with default weight 1.

    Like ``linear`` it is exact except for the final truncation. The merge of one expert with weight and scale
    1 is that expert.

    Raises:
        ValueError: if ``normalize`` is set and the weights sum to zero.

    Source: Task arithmetic, arXiv:2212.04089.
    """
    weights = share_weights(layer) if config.normalize else layer.weights
    return LowRank(*weighted_sum(layer.pairs, [config.scale * weight for weight in weights]))
