"""Model breadcrumbs: neither the largest entries nor the smallest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect import AgreeingEntries, WeightedSum, merge_blocks
from lorary.transforms.merging.entrywise.sparsify import keep_between
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class BreadcrumbsConfig:
    """Options of ``breadcrumbs``."""

    density: float = 0.9
    """Share of its entries that each expert keeps in a layer."""
    gamma: float = 0.01
    """Share of its entries, the largest, that each expert drops as outliers."""
    elect: Literal["sum", "sign"] = "sum"
    """Add all entries, or average those that have the elected sign."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("density", self.density)
        yield from check_gamma(self.density, self.gamma)
        yield from check_finite_number("scale", self.scale)


def check_gamma(density: float, gamma: float) -> Iterator[str]:
    """Say if there is no room for the largest entries to be dropped."""
    if not (0 <= gamma < 1 and density + gamma <= 1):
        yield (
            "gamma must lie in [0, 1) and density + gamma be at most 1, found density "
            f"{quote(density)} and gamma {quote(gamma)}"
        )


def merge_breadcrumbs(layer: MergeLayer, config: BreadcrumbsConfig) -> Tensor:
    """Drop each expert's largest entries and its smallest, then add up the experts.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). Exact before the final cut to a rank; the bounds look at all entries of
    the layer. Weights are ``1 / E`` unless given. One expert returns itself at density 1 with gamma 0.

    Source: Model breadcrumbs, arXiv:2312.06795.
    """
    blocks = LayerBlocks(layer)
    sparsify = keep_between(blocks, layer.spread_density(config.density), config.gamma)
    make_election = WeightedSum if config.elect == "sum" else lambda: AgreeingEntries(normalize=True)
    return merge_blocks(blocks, sparsify, layer.weights, make_election).mul_(config.scale)
