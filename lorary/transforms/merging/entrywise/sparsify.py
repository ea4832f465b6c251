"""Which entries of its weight change each expert keeps: the first of the three axes of entry-wise merging.

Every function here looks at one layer and returns a `Sparsify`: called with an expert's index and a block of
its rows, it gives the block with the other entries zero, rescaled where the function says so. Blocks of one
expert must come once, from the first row to the last.

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
    """Keep each expert's largest entries by magnitude, over the whole layer; none is rescaled.

    Args:
        blocks: the layer.
        densities: share of entries to keep, per expert. Equal magnitudes at the border are all kept.
    """
    count = blocks.outputs * blocks.inputs
    bounds: list[numpy.floating | None] = []
    for expert, density in enumerate(densities):
        dropped = count - max(1, int(density * count))
        bounds.append(_compute_magnitudes(blocks, expert, [dropped])[0] if dropped else None)

    def sparsify(expert: int, block: Tensor) -> Tensor:
        bound = bounds[expert]
        # Hardshrink also drops what equals its bound, but the smallest entry to keep must stay.
        return (
            block if bound is None else hardshrink(block, float(numpy.nextafter(bound, bound.dtype.type(0))))
        )

    return sparsify


def keep_between(blocks: LayerBlocks, densities: Sequence[float], gammas: Sequence[float]) -> Sparsify:
    """Drop the largest entries of each expert and its smallest, over the whole layer; none is rescaled.

    Args:
        blocks: the layer.
        densities: share of entries to keep, per expert; with 1 nothing is dropped.
        gammas: share of entries to drop as the largest, per expert; fewer are where the density needs them.
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
        layer: the layer; its path and the experts' names are part of the seed, so that the order of the
            experts does not matter.
        densities: probability to keep an entry, per expert.
        seed: of the draw.
        rescale: divide what is kept by its probability, which keeps the expected weight change.
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
    """Keep entries with a probability that rises with their magnitude's rank in their row.

    From the smallest entry of a row to the largest it rises linearly from ``density - epsilon`` to
    ``density + epsilon``.

    Args:
        layer: the layer; its path and the experts' names are part of the seed.
        densities: mean probability to keep an entry, per expert; with 1 all are kept.
        epsilons: half the difference between the largest probability and the smallest, per expert.
        seed: of the draw.
        rescale: divide what is kept by its probability, which keeps the expected weight change.
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
        # numpy sorts magnitudes four times as fast as torch.
        order = torch.from_numpy(numpy.argsort(block.abs().numpy(), axis=1))
        return block.mul_(torch.empty_like(factors).scatter_(1, order, factors))

    return sparsify


def _compute_magnitudes(blocks: LayerBlocks, expert: int, places: list[int]) -> list[numpy.floating]:
    """Compute the magnitudes of an expert's entries at some places, rising, of their rising order."""
    magnitudes = blocks.form_whole(expert).abs_().flatten().numpy()
    found, begin = [], 0
    for place in places:
        # One after the other: numpy is much slower at finding several at once.
        magnitudes[begin:].partition(place - begin)
        found.append(magnitudes[place])
        begin = place
    return found


def _seed_generators(layer: MergeLayer, seed: int) -> list[torch.Generator]:
    digests = [sha256(f"{seed}/{layer.path}/{name}".encode()).digest() for name in layer.names]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1) for digest in digests]
