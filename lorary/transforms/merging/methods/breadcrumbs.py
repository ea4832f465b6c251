"""Model breadcrumbs: neither the largest entries nor the smallest."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect_or_add import elect_or_add
from lorary.transforms.merging.entrywise.rescale import keep_norm
from lorary.transforms.merging.entrywise.sparsify import keep_between
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class BreadcrumbsConfig:
    """Options of ``breadcrumbs``."""

    density: float = 0.9
    """Share of its entries that each expert keeps in a layer."""
    gamma: float = 0.01
    """Share of its entries, the largest, that each expert drops as outliers, as far as the density allows."""
    elect: Literal["sum", "sign"] = "sum"
    """Add all entries, or merge those that have the elected sign."""
    normalize: bool | None = None
    """Average the entries that have the elected sign, or divide the weights of a sum by their sum; None
    averages and leaves sums alone."""
    rescale: bool = False
    """Multiply what each expert keeps so that its magnitudes add up to what they did."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("density", self.density)
        yield from check_gamma(self.gamma)
        yield from check_finite_number("scale", self.scale)


def check_gamma(gamma: float) -> Iterator[str]:
    """Say if a value is no share of entries to drop."""
    if not 0 <= gamma < 1:
        yield f"gamma must lie in [0, 1), found {quote(gamma)}"


def merge_breadcrumbs(layer: MergeLayer, config: BreadcrumbsConfig) -> Tensor:
    """Drop each expert's largest entries and its smallest, then add up the experts.

    Works on the entries of the weight changes (``delta``), of their cores (``core``) or of the factors apart
    (``factors``, with cross terms). Exact before the final cut to a rank; the bounds look at all entries of
    the layer. Where density and gamma add up to more than 1, fewer of the largest are dropped. Weights are
    ``1 / E`` unless given. One expert returns itself at density 1.

    Raises:
        ValueError: if weights are to be divided by their sum, and it is zero.

    Source: Model breadcrumbs, arXiv:2312.06795.
    """
    blocks = LayerBlocks(layer)
    densities, gammas = layer.spread("density", config.density), layer.spread("gamma", config.gamma)
    sparsify = keep_between(blocks, densities, gammas)
    if config.rescale:
        sparsify = keep_norm(blocks, lambda: keep_between(blocks, densities, gammas))
    return elect_or_add(layer, blocks, sparsify, config.elect, config.normalize).mul_(config.scale)
