"""KnOTS: merging experts in output directions that they share.

Shape letters: E experts, R rank, I layer input, O layer output, M dimensions of the outputs in use.
"""

from dataclasses import dataclass, replace
from typing import Literal

from lorary.experts import Factors
from lorary.lowrank.core import output_basis
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear
from lorary.transforms.merging.methods.ties import TiesConfig, merge_ties
from lorary.transforms.merging.spaces import factor_dense


@dataclass(frozen=True, kw_only=True)
class KnotsConfig:
    """Options of ``knots``."""

    inner: Literal["ties", "linear"] = "ties"
    """Method that merges the experts in the shared directions."""
    with_values: bool = True
    """Merge ``S V_e^T``, as in the authors' code, instead of ``V_e^T``."""
    density: float = 0.2
    """For the inner method ``ties``: share of each expert's entries to keep."""
    normalize: bool = True
    """For the inner method ``ties``: mean of the entries that have the elected sign, instead of their sum."""
    scale: float = 1.0
    """Factor of the result."""

    def __post_init__(self) -> None:
        refuse_faults(self)


def merge_knots(layer: MergeLayer, config: KnotsConfig) -> LowRank:
    """Decompose ``[D_1 ... D_E] = U S [V_1 ... V_E]^T``, merge the experts' ``S V_e^T``, and multiply back.

    It works on the entries of the weight changes in the basis U of shared output directions, which depends
    neither on the factorisation nor on the order of the experts. It never forms a weight change, and is exact
    except for the final truncation. With the inner method ``linear`` it is the weighted sum. The default
    weight is ``1 / E``. At density 1 the merge of one expert is that expert.

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
