"""DARE with the sign election of TIES."""

from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import refuse_faults
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
    """Rescale the kept entries."""
    rescale_to: RescaleTo = "mean"
    """Quantity that rescaling preserves: each entry's mean over seeds, or a layer's sum of magnitudes."""
    normalize: bool = True
    """Mean of the entries that have the elected sign, instead of their sum."""
    seed: int = 0
    """Random seed, combined with the module's path and the expert's name."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_dare_ties(layer: MergeLayer, config: DareTiesConfig) -> Tensor:
    """Drop entries at random, rescale the others, elect a sign per entry and average entries with that sign.

    It works on entries of the weight changes (space ``delta``), of their cores (``core``) or of the factors
    (``factors``, with cross terms). It is exact except for the final truncation. The default weight is
    ``1 / E``. At density 1 the merge of one expert is that expert.

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
