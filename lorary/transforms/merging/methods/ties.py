"""TIES: trim, elect a sign, average what agrees."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, merge_blocks
from lorary.transforms.merging.entrywise.rescale import keep_norm
from lorary.transforms.merging.entrywise.sparsify import keep_largest
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class TiesConfig:
    """Options of ``ties``."""

    density: float = 0.2
    """Share of its entries, the largest, that each expert keeps in a layer."""
    normalize: bool = True
    """Average the entries that have the elected sign; else they are added."""
    rescale: bool = False
    """Multiply what each expert keeps so that its magnitudes add up to what they did."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("density", self.density)
        yield from check_finite_number("scale", self.scale)


def merge_ties(layer: MergeLayer, config: TiesConfig) -> Tensor:
    """Keep each expert's largest entries, elect a sign per entry, and average the entries that have it.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). Exact before the final cut to a rank: trimming looks at all entries of
    the layer, and the sign elected is that of the weighted sum. One expert returns itself at density 1.

    Source: TIES-Merging, arXiv:2306.01708.
    """
    blocks = LayerBlocks(layer)
    densities = layer.spread("density", config.density)
    sparsify = keep_largest(blocks, densities)
    if config.rescale:
        sparsify = keep_norm(blocks, lambda: keep_largest(blocks, densities))
    merged = merge_blocks(blocks, sparsify, layer.weights, lambda: AgreeingEntries(config.normalize))
    return merged.mul_(config.scale)
