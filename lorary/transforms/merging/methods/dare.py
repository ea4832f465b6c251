"""DARE: drop entries at random and rescale the rest."""

from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import refuse_faults
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
    """Rescale the kept entries."""
    rescale_to: RescaleTo = "mean"
    """Quantity that rescaling preserves: each entry's mean over seeds, or a layer's sum of magnitudes."""
    normalize: bool = False
    """Divide the weights by their sum."""
    seed: int = 0
    """Random seed, combined with the module's path and the expert's name."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_dare(layer: MergeLayer, config: DareConfig) -> Tensor:
    """Drop each entry with probability ``1 - density``, rescale the others, and add the experts.

    It works on entries of the weight changes (space ``delta``), of their cores (``core``) or of the factors
    (``factors``, with cross terms). It is exact except for the final truncation, and its mean over seeds is
    ``linear``. The default weight is ``1 / E``. At density 1 the merge of one expert is that expert.

    Raises:
        ValueError: if ``normalize`` is set and the weights sum to zero.

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
