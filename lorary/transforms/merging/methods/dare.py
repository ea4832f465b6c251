"""DARE: drop entries at random and rescale the rest."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import WeightedSum, merge_blocks
from lorary.transforms.merging.entrywise.rescale import RescaleTo, rescale_draw
from lorary.transforms.merging.entrywise.sparsify import drop_randomly
from lorary.transforms.merging.layer import MergeLayer
from lorary.transforms.merging.weights import share_weights


@dataclass(frozen=True, kw_only=True)
class DareConfig:
    """Options of ``dare``."""

    density: float = 0.5
    """Probability that an entry is kept."""
    rescale: bool = True
    """Rescale what is kept."""
    rescale_to: RescaleTo = "mean"
    """What rescaling keeps: each entry's mean over seeds, or the sum of the magnitudes in the layer."""
    normalize: bool = False
    """Divide the weights by their sum."""
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

    Raises:
        ValueError: if ``normalize`` is set and the weights add up to zero.

    Source: DARE, arXiv:2311.03099.
    """
    blocks = LayerBlocks(layer)
    densities = layer.spread("density", config.density)
    sparsify = rescale_draw(
        blocks,
        lambda divide: drop_randomly(layer, densities, config.seed, divide),
        config.rescale,
        config.rescale_to,
    )
    weights = share_weights(layer) if config.normalize else layer.weights
    return merge_blocks(blocks, sparsify, weights, WeightedSum).mul_(config.scale)
