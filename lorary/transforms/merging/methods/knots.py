"""KnOTS: experts merged in output directions that they share.

Shape letters: E experts, R rank, I layer input, O layer output, M output directions in use.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from lorary.experts import Factors
from lorary.lowrank.core import output_basis
from lorary.transforms.merging.checks import check_finite_number, check_share, refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear
from lorary.transforms.merging.methods.ties import TiesConfig, merge_ties
from lorary.transforms.merging.spaces import factor_dense


@dataclass(frozen=True, kw_only=True)
class KnotsConfig:
    """Options of ``knots``."""

    inner: Literal["ties", "linear"] = "ties"
    """How what experts have in the shared directions is merged."""
    with_values: bool = True
    """Merge ``S V_e^T``, as the authors' code does; else ``V_e^T``, where weak directions count as much."""
    density: float = 0.2
    """Share of its entries that each expert keeps, where the inner method is ``ties``."""
    normalize: bool = True
    """Average the entries that have the elected sign, where the inner method is ``ties``; else add them."""
    scale: float = 1.0
    """What the result is multiplied with."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        yield from check_share("density", self.density)
        yield from check_finite_number("scale", self.scale)


def merge_knots(layer: MergeLayer, config: KnotsConfig) -> LowRank:
    """Decompose ``[D_1 ... D_E] = U S [V_1 ... V_E]^T``, merge the experts' ``S V_e^T``, and multiply back.

    Works on the entries of the weight changes seen in the shared output directions U, which depend neither on
    how each is factored nor on the experts' order; never forms a weight change. Exact but for the final cut
    to a rank; with ``linear`` inside it is the plain weighted sum, with weights ``1 / E`` unless given. One
    expert returns itself at density 1.

    Source: KnOTS, arXiv:2410.19735.
    """
    basis, values = output_basis([(a.double(), b.double()) for a, b in layer.pairs])
    inside = outside = basis
    if not config.with_values and values.any():
        inside, outside = basis / values, basis * values
    pairs = tuple(Factors(a, (inside.mT @ b.double()).to(layer.dtype)) for a, b in layer.pairs)
    turned = replace(layer, pairs=pairs)
    if config.inner == "linear":
        a, b, _ = merge_linear(turned, LinearConfig())
        b = config.scale * b
    else:
        options = TiesConfig(density=config.density, normalize=config.normalize, scale=config.scale)
        a, b, _ = factor_dense(merge_ties(turned, options))
    return LowRank(a, (outside @ b.double()).to(layer.dtype))
