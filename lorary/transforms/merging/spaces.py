"""Where a method works: on cores, or on the factors apart, instead of on the weight changes themselves.

Shape letters: R rank, I layer input, O layer output, N and M directions of the inputs and outputs in use.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from lorary.experts import Factors
from lorary.lowrank import core_space
from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.layer import Change, LowRank, MergeFunction, MergeLayer

Space = Literal["delta", "core", "factors"]
"""What a method is applied to."""


def merge_in(space: Space, merge: MergeFunction, layer: MergeLayer, config: Any) -> Change:
    """Apply a method to one layer in the space asked for."""
    if space == "core":
        return merge_cores(merge, layer, config)
    if space == "factors":
        return merge_factors_apart(merge, layer, config)
    return merge(layer, config)


def merge_cores(merge: MergeFunction, layer: MergeLayer, config: Any) -> LowRank:
    """Apply a method to the experts' small core matrices, and bring the result back.

    The cores hold all of the weight changes, so a method that does not look at single entries gives what it
    gives without this; one that does, sees the entries in the experts' own principal directions.
    """
    space = core_space(layer.pairs)
    pairs = tuple(Factors(a.to(layer.dtype), b.to(layer.dtype)) for a, b in space.pairs)
    change = merge(replace(layer, pairs=pairs), config)
    a, b, is_sorted = change if isinstance(change, LowRank) else factor_dense(change)
    return LowRank(
        (a.double() @ space.basis_a.mT).to(layer.dtype),
        (space.basis_b @ b.double()).to(layer.dtype),
        is_sorted,
    )


def merge_factors_apart(merge: MergeFunction, layer: MergeLayer, config: Any) -> LowRank:
    """Apply a method to all ``a`` and, apart from them, to all ``b``, as tools do that store only factors.

    What comes out has cross terms ``b_i @ a_j``, and depends on how each expert is factored; smaller ranks
    are filled up with zeros. A scale is applied once, to ``b``.
    """
    a, b = pad_ranks(layer.pairs, layer.dtype)
    identity = torch.eye(a.shape[1], dtype=layer.dtype)
    one = replace(config, scale=1.0) if hasattr(config, "scale") else config
    rows = tuple(Factors(a=factor, b=identity) for factor in a)
    columns = tuple(Factors(a=identity, b=factor) for factor in b)
    # Other paths for other random numbers.
    merged_a = merge(replace(layer, path=f"{layer.path}.a", pairs=rows), one)
    merged_b = merge(replace(layer, path=f"{layer.path}.b", pairs=columns), config)
    return LowRank(form_dense(merged_a), form_dense(merged_b))


def factor_dense(d: Tensor) -> LowRank:
    """Write ``d [M, N]`` as factors, one of which is the identity."""
    outputs, inputs = d.shape
    if outputs < inputs:
        return LowRank(d, torch.eye(outputs, dtype=d.dtype))
    return LowRank(torch.eye(inputs, dtype=d.dtype), d)


def form_dense(change: Change) -> Tensor:
    """Multiply factors out."""
    return change.b @ change.a if isinstance(change, LowRank) else change
