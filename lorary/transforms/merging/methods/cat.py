"""The weighted sum of weight changes at its full rank."""

from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear


def merge_cat(layer: MergeLayer, config: LinearConfig) -> LowRank:
    """Put all factors side by side: the sum that ``linear`` gives, but of the sum of all ranks.

    Works on the weight changes themselves. Exact: nothing is cut unless a rank is asked for. One expert, with
    weight 1, returns as it is.

    Raises:
        ValueError: as ``merge_linear`` does.
    """
    return merge_linear(layer, config)
