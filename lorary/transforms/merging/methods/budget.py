"""The rank that a method may use in one layer."""

from lorary.lowrank import thin_svd
from lorary.transforms.merging.layer import MergeLayer

# Singular values below this, relative to the expert's largest, are rounding errors.
SMALLEST = 1e-6


def choose_rank(layer: MergeLayer) -> int:
    """Return the merged layer's rank; if it is not fixed, the largest rank of the experts' weight changes.

    That is the rank of the product ``b @ a``, which may be lower than the factors' rank; at least 1.
    """
    if layer.rank is not None:
        return layer.rank
    found = [thin_svd(a, b)[1] for a, b in layer.pairs]
    return max(1, *(int((s > SMALLEST * s[0]).sum()) for s in found))
