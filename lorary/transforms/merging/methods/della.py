"""DELLA: drop entries at random, the small ones more often."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import check_finite_number, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect_or_add import elect_or_add
from lorary.transforms.merging.entrywise.rescale import RescaleTo, rescale_draw
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
    """Rescale what is kept."""
    rescale_to: RescaleTo = "mean"
    """What rescaling keeps: each entry's mean over seeds, or the sum of the magnitudes in the layer."""
    normalize: bool | None = None
    """Average the entries that have the elected sign, or divide the weights of a sum by their sum; None
    averages and leaves sums alone."""
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
    """Say if a probability would leave (0, 1]; at density 1 all entries are kept, whatever epsilon is."""
    is_whole = density == 1 and epsilon < 1
    if not (epsilon >= 0 and density - epsilon > 0 and (density + epsilon <= 1 or is_whole)):
        yield (
            "density - epsilon must be above 0, density + epsilon at most 1 (or density 1), and epsilon at "
            f"least 0, found density {quote(density)} and epsilon {quote(epsilon)}"
        )


def merge_della(layer: MergeLayer, config: DellaConfig) -> Tensor:
    """Drop entries with a probability that falls with their magnitude's rank in their row, then merge.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). One seed is exact before the final cut to a rank. One expert returns
    itself at density 1.

    Raises:
        ValueError: if weights are to be divided by their sum, and it is zero.

    Source: DELLA-Merging, arXiv:2406.11617.
    """
    blocks = LayerBlocks(layer)
    densities, epsilons = layer.spread("density", config.density), layer.spread("epsilon", config.epsilon)
    sparsify = rescale_draw(
        blocks,
        lambda divide: drop_by_rank(layer, densities, epsilons, config.seed, divide),
        config.rescale,
        config.rescale_to,
    )
    return elect_or_add(layer, blocks, sparsify, config.elect, config.normalize).mul_(config.scale)
