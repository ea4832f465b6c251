"""Arrow prototypes that several layers share because they have the same input, such as q, k and v.

Shape letters: E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lorary.transforms.prototypes import arrow_prototypes


def tied_prototypes(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Compute the unit input that each expert amplifies most over several layers with the same input.

    The layers' weight changes ``b @ a``, concatenated along the outputs, are one change: the product of their
    ``a``, concatenated along the rank, and a block-diagonal ``b`` with one block per layer.

    Args:
        pairs: each layer's ``a [E, R, I]`` and ``b [E, O, R]``; R and O may differ between layers.

    Returns:
        Prototypes ``[E, I]`` with unit rows, and gains ``[E]``, both float32, as from `arrow_prototypes`.

    Raises:
        ValueError: if there is no layer, or two have different E or I.

    Source: Arrow, arXiv:2405.11157.
    """
    found = {(a.shape[0], a.shape[-1]) for a, _ in pairs}
    if len(found) != 1:
        raise ValueError(
            "layers that share a prototype must be at least one and have the same (E, I), found "
            f"{sorted(found)}"
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
