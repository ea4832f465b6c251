"""Applying a method to weight changes, to their small cores, or to the factors ``a`` and ``b`` separately.

Shape letters: R rank, I layer input, O layer output, N and M dimensions of the spaces of inputs and outputs
that the experts use.
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
"""``delta``: the weight changes; ``core``: their cores; ``factors``: the factors, separately."""


def merge_in(space: Space, merge: MergeFunction, layer: MergeLayer, config: Any) -> Change:
    """Apply a method to one layer in the given space."""
    if space == "core":
        return merge_cores(merge, layer, config)
    if space == "factors":
        return merge_factors_apart(merge, layer, config)
    return merge(layer, config)


def merge_cores(merge: MergeFunction, layer: MergeLayer, config: Any) -> LowRank:
    """Apply a method to the experts' core matrices, and transform the result back.

    A core ``[M, N]`` is the weight change in orthonormal bases of the outputs and inputs that the experts
    use, so nothing is lost. Methods that do not depend on single entries have the same result as in space
    ``delta``; entry-wise methods work on entries in these bases.
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
    """Apply a method to all ``a`` and, separately, to all ``b``, as some other tools do.

    The result has cross terms ``b_i @ a_j``, and depends on the factorisation of each expert. Lower ranks are
    padded with zeros. A scale is applied once, to ``b``.
    """
    a, b = pad_ranks(layer.pairs, layer.dtype)
    identity = torch.eye(a.shape[1], dtype=layer.dtype)
    one = replace(config, scale=1.0) if hasattr(config, "scale") else config
    rows = tuple(Factors(a=factor, b=identity) for factor in a)
    columns = tuple(Factors(a=identity, b=factor) for factor in b)
    # Different paths give the two calls different random numbers.
    merged_a = merge(replace(layer, path=f"{layer.path}.a", pairs=rows), one)
    merged_b = merge(replace(layer, path=f"{layer.path}.b", pairs=columns), config)
    return LowRank(form_dense(merged_a), form_dense(merged_b))


def factor_dense(d: Tensor) -> LowRank:
    """Return ``d [M, N]`` as factors, one of which is the identity."""
    outputs, inputs = d.shape
    if outputs < inputs:
        return LowRank(d, torch.eye(outputs, dtype=d.dtype))
    return LowRank(torch.eye(inputs, dtype=d.dtype), d)


def form_dense(change: Change) -> Tensor:
    """Return a weight change as a dense matrix, ``[O, I]``."""
    return change.b @ change.a if isinstance(change, LowRank) else change
