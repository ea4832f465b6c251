"""Choosing the entries of each expert's weight change to keep.

Each function returns a `Sparsify` for one layer: a function of an expert's index and a block of rows that
returns the block with all other entries zero. Each expert's blocks must be passed once, from the first row to
the last, because random numbers are drawn in this order.

Shape letters: E experts, I layer input, O layer output, B rows of a block.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy
import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.layer import MergeLayer

Sparsify = Callable[[int, Tensor], Tensor]
"""``(expert, block [B, I]) -> block [B, I]``."""


def keep_largest(blocks: LayerBlocks, densities: Sequence[float]) -> Sparsify:
    """Keep each expert's largest entries by magnitude in the whole layer, without rescaling.

    Args:
        blocks: the layer.
        densities: share of entries to keep, per expert; more are kept if several have the smallest magnitude.
    """
    count = blocks.outputs * blocks.inputs
    bounds: list[numpy.floating | None] = []
    for expert, density in enumerate(densities):
        dropped = count - max(1, int(density * count))
        bounds.append(_compute_magnitudes(blocks, expert, [dropped])[0] if dropped else None)

    def sparsify(expert: int, block: Tensor) -> Tensor:
        bound = bounds[expert]
        # Hardshrink also drops entries equal to its bound, so the bound is the next smaller number.
        return (
            block if bound is None else hardshrink(block, float(numpy.nextafter(bound, bound.dtype.type(0))))
        )

    return sparsify


def keep_between(blocks: LayerBlocks, densities: Sequence[float], gammas: Sequence[float]) -> Sparsify:
    """Drop each expert's largest and smallest entries by magnitude in the whole layer, without rescaling.

    Args:
        blocks: the layer.
        densities: share of entries to keep, per expert; 1 drops none.
        gammas: share of largest entries to drop, per expert; at most ``1 - density`` are dropped.
    """
    count = blocks.outputs * blocks.inputs
    bounds = []
    for expert, (density, gamma) in enumerate(zip(densities, gammas, strict=True)):
        kept = max(1, int(density * count))
        largest = min(int(gamma * count), count - kept)
        smallest = count - largest - kept
        places = [smallest, count - largest] if largest else [smallest]
        low, *high = map(float, _compute_magnitudes(blocks, expert, places))
        bounds.append((low, high[0] if high else float("inf")))

    def sparsify(expert: int, block: Tensor) -> Tensor:
        low, high = bounds[expert]
        size = block.abs()
        return block.masked_fill_((size < low) | (size >= high), 0.0)

    return sparsify


def drop_randomly(layer: MergeLayer, densities: Sequence[float], seed: int, rescale: bool) -> Sparsify:
    """Keep each entry with the same probability.

    Args:
        layer: the layer; its path and the experts' names are part of the seed, so the result does not depend
            on the order of the experts.
        densities: probability to keep an entry, per expert.
        seed: random seed.
        rescale: divide kept entries by their probability, so that the expected weight change is unchanged.
    """
    generators = _seed_generators(layer, seed)

    def sparsify(expert: int, block: Tensor) -> Tensor:
        density = densities[expert]
        if density >= 1:
            return block
        draw = torch.rand(block.shape, generator=generators[expert], dtype=block.dtype)
        kept = block.masked_fill_(draw >= density, 0.0)
        return kept.div_(density) if rescale else kept

    return sparsify


def drop_by_rank(
    layer: MergeLayer, densities: Sequence[float], epsilons: Sequence[float], seed: int, rescale: bool
) -> Sparsify:
    """Keep each entry with a probability that increases with the rank of its magnitude in its row.

    The probability increases linearly from ``density - epsilon`` for the smallest entry of a row to
    ``density + epsilon`` for the largest.

    Args:
        layer: the layer; its path and the experts' names are part of the seed.
        densities: mean probability to keep an entry, per expert; 1 keeps all.
        epsilons: half the difference between the largest and the smallest probability, per expert.
        seed: random seed.
        rescale: divide kept entries by their probability, so that the expected weight change is unchanged.
    """
    generators = _seed_generators(layer, seed)
    width = layer.shape[1]
    steps = torch.linspace(-1, 1, width, dtype=layer.dtype) if width > 1 else torch.zeros(1).to(layer.dtype)

    def sparsify(expert: int, block: Tensor) -> Tensor:
        if densities[expert] >= 1:
            return block
        chances = densities[expert] + epsilons[expert] * steps
        draw = torch.rand(block.shape, generator=generators[expert], dtype=block.dtype)
        factors = (draw < chances).to(block.dtype)
        if rescale:
            factors /= chances
        # NumPy sorts magnitudes four times as fast as PyTorch.
        order = torch.from_numpy(numpy.argsort(block.abs().numpy(), axis=1))
        return block.mul_(torch.empty_like(factors).scatter_(1, order, factors))

    return sparsify


def _compute_magnitudes(blocks: LayerBlocks, expert: int, places: list[int]) -> list[numpy.floating]:
    """Compute order statistics of the magnitudes of an expert's entries; ``places`` must be ascending."""
    magnitudes = blocks.form_whole(expert).abs_().flatten().numpy()
    found, begin = [], 0
    for place in places:
        # One after the other, because NumPy's partition with several places is much slower.
        magnitudes[begin:].partition(place - begin)
        found.append(magnitudes[place])
        begin = place
    return found


def _seed_generators(layer: MergeLayer, seed: int) -> list[torch.Generator]:
    digests = [sha256(f"{seed}/{layer.path}/{name}".encode()).digest() for name in layer.names]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1) for digest in digests]
