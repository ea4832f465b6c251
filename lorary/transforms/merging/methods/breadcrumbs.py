"""Model breadcrumbs: drop the largest and the smallest entries, then add or elect."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from lorary.files import quote
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.entrywise.blocks import LayerBlocks
from lorary.transforms.merging.entrywise.elect_or_add import elect_or_add
from lorary.transforms.merging.entrywise.rescale import keep_norm
from lorary.transforms.merging.entrywise.sparsify import keep_between
from lorary.transforms.merging.layer import MergeLayer


@dataclass(frozen=True, kw_only=True)
class BreadcrumbsConfig:
    """Options of ``breadcrumbs``."""

    density: float = 0.9
    """Share of each expert's entries of a layer to keep."""
    gamma: float = 0.01
    """Share of each expert's largest entries to drop as outliers, at most 1 - density."""
    elect: Literal["sum", "sign"] = "sum"
    """Add all entries, or merge those that have the elected sign."""
    normalize: bool | None = None
    """For sign: mean instead of sum. For sum: divide the weights by their sum. None: only for sign."""
    rescale: bool = False
    """Rescale the kept entries of each expert to the sum of magnitudes of all its entries."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self, check_gamma(self.gamma))


def check_gamma(gamma: float) -> Iterator[str]:
    """Yield a fault if a value is not in [0, 1)."""
    if not 0 <= gamma < 1:
        yield f"gamma must be in [0, 1), found {quote(gamma)}"


def merge_breadcrumbs(layer: MergeLayer, config: BreadcrumbsConfig) -> Tensor:
    """Drop each expert's largest and smallest entries, then add the experts.

    It works on entries of the weight changes (space ``delta``), of their cores (``core``) or of the factors
    (``factors``, with cross terms). It is exact except for the final truncation: the bounds are quantiles of
    all entries of the layer. If density and gamma sum to more than 1, fewer of the largest are dropped. The
    default weight is ``1 / E``. At density 1 the merge of one expert is that expert.

    Raises:
        ValueError: if the weights are divided by their sum, and it is zero.

    Source: Model breadcrumbs, arXiv:2312.06795.
    """
    blocks = LayerBlocks(layer)
    densities, gammas = layer.spread("density", config.density), layer.spread("gamma", config.gamma)
    sparsify = keep_between(blocks, densities, gammas)
    if config.rescale:
        sparsify = keep_norm(blocks, lambda: keep_between(blocks, densities, gammas))
    return elect_or_add(layer, blocks, sparsify, config.elect, config.normalize).mul_(config.scale)
