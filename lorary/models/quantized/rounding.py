"""Rounding the layers of a folded model, and the part of the expert's change that this loses.

I layer input, O layer output.
"""

from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lorary.models.quantized.packed_layers import unpack_weight


@torch.no_grad()
def round_layers(
    model: PreTrainedModel, plain: Mapping[str, nn.Module], dtype: torch.dtype
) -> tuple[float, tuple[float, str]]:
    """Round the weights of dequantised layers, in place.

    Args:
        model: the model with the quantised layers.
        plain: module path -> the plain layer in its place, float32, with an expert's change or without.
        dtype: the weights' new dtype.

    Returns:
        Norm of the rounding error, relative to the norm of the expert's change, over all layers that
        the expert changes; and the largest such error of a layer, with its path (empty if there is none).
    """
    all_lost, all_changed = 0.0, 0.0
    worst = (0.0, "")
    for path, layer in plain.items():
        exact = layer.get_parameter("weight").detach()
        rounded = exact.to(dtype)
        packed = model.get_submodule(path)
        assert isinstance(packed, nn.Linear)
        before = unpack_weight(packed).float()
        before = before.T if isinstance(layer, Conv1D) else before
        changed = float((exact - before).square().sum())
        if changed:
            lost = float((rounded.float() - exact).square().sum())
            all_lost, all_changed = all_lost + lost, all_changed + changed
            worst = max(worst, ((lost / changed) ** 0.5, path))
        layer.weight = nn.Parameter(rounded, requires_grad=False)
    return (all_lost / all_changed) ** 0.5 if all_changed else 0.0, worst
