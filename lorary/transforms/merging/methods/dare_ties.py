"""DARE with the sign election of TIES."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, merge_blocks
from lorary.transforms.merging.entrywise.rescale import RescaleTo, rescale_draw
from lorary.transforms.merging.entrywise.sparsify import drop_randomly
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class DareTiesConfig:
    """Options of ``dare_ties``."""

    density: float = 0.5
    """Probability that an entry is kept."""
    rescale: bool = True
    """Rescale what is kept."""
    rescale_to: RescaleTo = "mean"
    """What rescaling keeps: each entry's mean over seeds, or the sum of the magnitudes in the layer."""
    normalize: bool = True
    """Average the entries that have the elected sign; else they are added."""
    seed: int = 0
    """Seed of the draw, together with the module's path and the expert's name."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("density", self.density)
        yield from check_finite_number("scale", self.scale)


def merge_dare_ties(layer: MergeLayer, config: DareTiesConfig) -> Tensor:
    """Drop entries at random, rescale the rest, elect a sign per entry and average the entries that have it.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). One seed is exact before the final cut to a rank. One expert returns
    itself at density 1.

    Source: DARE, arXiv:2311.03099; TIES-Merging, arXiv:2306.01708.
    """
    blocks = LayerBlocks(layer)
    densities = layer.spread("density", config.density)
    sparsify = rescale_draw(
        blocks,
        lambda divide: drop_randomly(layer, densities, config.seed, divide),
        config.rescale,
        config.rescale_to,
    )
    merged = merge_blocks(blocks, sparsify, layer.weights, lambda: AgreeingEntries(config.normalize))
    return merged.mul_(config.scale)
