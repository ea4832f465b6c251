"""The weighted sum of weight changes, without truncation."""

from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear


def merge_cat(layer: MergeLayer, config: LinearConfig) -> LowRank:
    """Concatenate all factors: the sum of ``linear``, whose rank is the sum of all ranks.

    It works on the weight changes. It is exact: by default nothing is truncated. The merge of one expert with
    weight 1 is that expert.

    Raises:
        ValueError: if ``normalize`` is set and the weights sum to zero.
    """
    return merge_linear(layer, config)
