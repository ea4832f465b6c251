"""Core Space merging: another method, applied to the experts' small core matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.inner import check_inner, find_inner, find_inner_config
from lorary.transforms.merging.spaces import merge_cores


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Options of ``core``; options of the inner method may also be given directly."""

    inner: str = "ties"
    """Method that merges the cores."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the inner method."""

    def __post_init__(self) -> None:
        refuse_faults(self)
        check_inner("core", self)


def merge_core(layer: MergeLayer, config: CoreConfig) -> LowRank:
    """Write each expert as ``D_e = Q_b M_e Q_a^T`` with a small M_e, merge the M_e, and multiply back.

    Nothing is lost: ``Q_a`` and ``Q_b`` are orthonormal bases of the inputs and outputs that the experts use.
    Entry-wise methods work on entries in the experts' principal directions, which depend neither on the
    factorisation nor on the order of the experts; other methods have the same result as without ``core``.

    It never forms a weight change, and is exact except for the final truncation. Default weights are those of
    the inner method.

    Source: Core Space merging, arXiv:2509.17786.
    """
    return merge_cores(find_inner(config).merge, layer, find_inner_config(config))
