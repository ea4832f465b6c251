"""Arrow prototypes that several layers share, because they read the same input.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.transforms.prototypes import arrow_prototypes


def tied_prototypes(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Find the unit input that each expert amplifies most over several layers taken as one.

    Layers that read the same input, such as q, k and v, change one tall weight: their changes ``b @ a`` one
    below the other. That is ``a`` stacked in ranks times a ``b`` with one block per layer; where the layers
    share their ``a``, it comes to the layers' ``b`` one below the other.

    Args:
        pairs: each layer's ``a [E, R, I]`` and ``b [E, O, R]``; R and O may differ between layers.

    Returns:
        Prototypes ``[E, I]`` with unit rows, and gains ``[E]``, both float32, as `arrow_prototypes` gives
        them.

    Raises:
        ValueError: if there is no layer, or two disagree on E or I.

    Source: Arrow, arXiv:2405.11157.
    """
    found = {(a.shape[0], a.shape[-1]) for a, _ in pairs}
    if len(found) != 1:
        raise ValueError(
            "layers that share a prototype must be at least one, and have the same experts and inputs; "
            f"found (E, I) of {sorted(found)}"
        )
    a = torch.cat([a for a, _ in pairs], dim=1)
    num_experts, rank, _ = a.shape
    b = a.new_zeros(num_experts, sum(part.shape[1] for _, part in pairs), rank)
    row = column = 0
    for _, part in pairs:
        outputs, width = part.shape[1:]
        b[:, row : row + outputs, column : column + width] = part
        row, column = row + outputs, column + width
    return arrow_prototypes(a, b)
