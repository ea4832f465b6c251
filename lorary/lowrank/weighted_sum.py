"""The exact weighted sum of weight changes, as factors.

Shape letters: E experts, R rank, S sum of the ranks, I layer input, O layer output.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.lowrank.pairs import match_pair


def weighted_sum(pairs: Sequence[tuple[Tensor, Tensor]], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Add the weight changes ``w_e b_e @ a_e`` by concatenating their factors, without loss.

    Factors summed separately (``(sum b_e) @ (sum a_e)``) would have cross terms ``b_i @ a_j`` instead.

    Args:
        pairs: one ``(a [R_e, I], b [O, R_e])`` per expert; ranks may differ.
        weights: one number per expert.

    Returns:
        ``a [S, I]`` and ``b [O, S]`` with ``b @ a`` the sum: float64 if a factor is, else float32.

    Raises:
        ValueError: if there are no pairs, not one weight for each, or two pairs disagree on I or O.
    """
    if not pairs or len(pairs) != len(weights):
        raise ValueError(
            f"a sum needs pairs of factors and one weight for each, found {len(pairs)} and {len(weights)}"
        )
    matched = [match_pair(a, b) for a, b in pairs]
    if len({(a.shape[1], b.shape[0]) for a, b in matched}) > 1:
        found = ", ".join(f"a {list(a.shape)} and b {list(b.shape)}" for a, b in matched[:4])
        raise ValueError(f"factors that are summed must agree on I and O, found {found}")
    dtype = max((a.dtype for a, _ in matched), key=lambda dtype: dtype.itemsize)
    a = torch.cat([a.to(dtype) for a, _ in matched])
    b = torch.cat([b.to(dtype) * weight for (_, b), weight in zip(matched, weights, strict=True)], 1)
    return a, b
