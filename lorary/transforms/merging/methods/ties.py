"""TIES: trim entries, elect a sign, average the entries with that sign."""

from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, merge_blocks
from lorary.transforms.merging.entrywise.rescale import keep_norm
from lorary.transforms.merging.entrywise.sparsify import keep_largest
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class TiesConfig:
    """Options of ``ties``."""

    density: float = 0.2
    """Share of each expert's entries of a layer to keep, the largest."""
    normalize: bool = True
    """Mean of the entries that have the elected sign, instead of their sum."""
    rescale: bool = False
    """Rescale the kept entries of each expert to the sum of magnitudes of all its entries."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_ties(layer: MergeLayer, config: TiesConfig) -> Tensor:
    """Keep each expert's largest entries, elect a sign per entry, and average the entries with that sign.

    It works on entries of the weight changes (space ``delta``), of their cores (``core``) or of the factors
    (``factors``, with cross terms). It is exact except for the final truncation: trimming is over all entries
    of the layer, and the elected sign is that of the weighted sum. The default weight is ``1 / E``. At
    density 1 the merge of one expert is that expert.

    Source: TIES-Merging, arXiv:2306.01708.
    """
    blocks = LayerBlocks(layer)
    densities = layer.spread("density", config.density)
    sparsify = keep_largest(blocks, densities)
    if config.rescale:
        sparsify = keep_norm(blocks, lambda: keep_largest(blocks, densities))
    merged = merge_blocks(blocks, sparsify, layer.weights, lambda: AgreeingEntries(config.normalize))
    return merged.mul_(config.scale)
