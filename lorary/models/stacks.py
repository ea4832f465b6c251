"""Stacking the factors of many experts, for layers with experts.

E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lorary.experts import Expert, read_alike
from lorary.models.layers import BaseLayer, layer_shape
from lorary.models.quantized.packed_layers import choose_factor_dtype


class Stack(NamedTuple):
    """One layer's experts."""

    a: Tensor
    """Down-projections, ``[E, R, I]``."""
    b_t: Tensor
    """Up-projections, transposed, ``[E, R, O]``."""
    ranks: list[int]
    """Number of the R rows that each expert uses; the others are zeros."""


@torch.no_grad()
def stack_experts(
    layers: Mapping[str, BaseLayer],
    experts: Sequence[Expert],
    dtype: torch.dtype | None = None,
    packed_dtype: torch.dtype = torch.bfloat16,
) -> dict[str, Stack]:
    """Stack the factors of experts that fit a model, reading each expert once.

    Besides the stacks, only few experts are in memory at a time.

    Args:
        layers: module path -> layer, for all layers that any of the experts changes.
        experts: the experts, in the order of the stacks. Lower ranks and layers that an expert does not
            change are padded with zeros.
        dtype: of the stacks; None for each layer's own.
        packed_dtype: of the stacks of quantised layers, if ``dtype`` is None.

    Returns:
        Module path -> stack, on the layer's device.
    """
    ranks = [expert.ranks for expert in experts]
    stacks = {
        path: _make_room(
            layer, [own.get(path, 0) for own in ranks], dtype or choose_factor_dtype(layer, packed_dtype)
        )
        for path, layer in layers.items()
    }
    devices = {stack.a.device for stack in stacks.values()}
    for where, pairs in read_alike(experts, devices.pop() if len(devices) == 1 else None):
        for path, (a, b) in pairs.items():
            stack, rank = stacks[path], a.shape[1]
            stack.a[where, :rank] = a
            stack.b_t[where, :rank] = b.transpose(1, 2)
    return stacks


def _make_room(layer: BaseLayer, ranks: list[int], dtype: torch.dtype) -> Stack:
    """Allocate a layer's stack, filled with zeros if experts will not fill all of it."""
    make = torch.empty if min(ranks) == max(ranks) else torch.zeros
    a, b_t = (
        make(len(ranks), max(ranks), width, dtype=dtype, device=layer.weight.device)
        for width in layer_shape(layer)
    )
    return Stack(a, b_t, ranks)
