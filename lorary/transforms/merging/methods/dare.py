"""DARE: drop entries at random and rescale the rest."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import WeightedSum, merge_blocks
from lorary.transforms.merging.entrywise.sparsify import drop_randomly
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class DareConfig:
    """Options of ``dare``."""

    density: float = 0.5
    """Probability that an entry is kept."""
    rescale: bool = True
    """Divide what is kept by the density."""
    seed: int = 0
    """Seed of the draw, together with the module's path and the expert's name."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("density", self.density)
        yield from check_finite_number("scale", self.scale)


def merge_dare(layer: MergeLayer, config: DareConfig) -> Tensor:
    """Drop each entry with probability ``1 - density``, rescale the rest, and add up the experts.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). The mean over seeds is ``linear``; one seed is exact before the final cut
    to a rank. Weights are ``1 / E`` unless given. One expert returns itself at density 1.

    Source: DARE, arXiv:2311.03099.
    """
    blocks = LayerBlocks(layer)
    sparsify = drop_randomly(layer, layer.spread_density(config.density), config.seed, config.rescale)
    return merge_blocks(blocks, sparsify, layer.weights, WeightedSum).mul_(config.scale)
