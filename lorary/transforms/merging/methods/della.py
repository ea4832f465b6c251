"""DELLA: drop entries at random, the small ones more often."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import check_finite_number, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, WeightedSum, merge_blocks
from lorary.transforms.merging.entrywise.sparsify import drop_by_rank
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class DellaConfig:
    """Options of ``della``."""

    density: float = 0.5
    """Mean probability that an entry is kept."""
    epsilon: float = 0.15
    """How far the largest entry's probability in a row is above the density, and the smallest's below."""
    elect: Literal["sign", "sum"] = "sign"
    """Merge the entries that have the elected sign, or add all."""
    rescale: bool = True
    """Divide what is kept by its probability."""
    normalize: bool = True
    """Average the entries that have the elected sign; else they are added."""
    seed: int = 0
    """Seed of the draw, together with the module's path and the expert's name."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_chances(self.density, self.epsilon)
        yield from check_finite_number("scale", self.scale)


def check_chances(density: float, epsilon: float) -> Iterator[str]:
    """Say if a probability would leave (0, 1]."""
    if not (epsilon >= 0 and density - epsilon > 0 and density + epsilon <= 1):
        yield (
            "density - epsilon must be above 0, density + epsilon at most 1, and epsilon at least 0, "
            f"found density {quote(density)} and epsilon {quote(epsilon)}"
        )


def merge_della(layer: MergeLayer, config: DellaConfig) -> Tensor:
    """Drop entries with a probability that falls with their magnitude's rank in their row, then merge.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). One seed is exact before the final cut to a rank. One expert returns
    itself at density 1 with epsilon 0.

    Source: DELLA-Merging, arXiv:2406.11617.
    """
    blocks = LayerBlocks(layer)
    densities = layer.spread_density(config.density)
    sparsify = drop_by_rank(layer, densities, config.epsilon, config.seed, config.rescale)
    make_election = WeightedSum if config.elect == "sum" else lambda: AgreeingEntries(config.normalize)
    return merge_blocks(blocks, sparsify, layer.weights, make_election).mul_(config.scale)
