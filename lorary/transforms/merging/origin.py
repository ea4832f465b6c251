"""Merging weight changes relative to another expert instead of the base model.

Shape letters: I layer input, O layer output.
"""

from collections.abc import Callable, Sequence

import torch

from lorary.experts import Factors
from lorary.lowrank import weighted_sum
from lorary.transforms.merging.layer import Change, LowRank


def merge_from(
    origin: Factors | None, pairs: Sequence[Factors], merge: Callable[[tuple[Factors, ...]], Change]
) -> Change:
    """Merge differences from an expert: ``D_0 + merge(D_1 - D_0, D_2 - D_0, ...)``, without truncation.

    Args:
        origin: factors of ``D_0``; None for the base model, whose weight change is zero.
        pairs: factors of the experts in one layer.
        merge: the method.
    """
    if origin is None:
        return merge(tuple(pairs))
    change = merge(tuple(Factors(*weighted_sum([pair, origin], [1.0, -1.0])) for pair in pairs))
    if isinstance(change, LowRank):
        return LowRank(torch.cat([origin.a, change.a]), torch.cat([origin.b, change.b], 1))
    return change + origin.b @ origin.a
