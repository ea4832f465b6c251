"""Core Space merging: another method applied to the experts' small core matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lorary.errors import suggest
from lorary.files import quote
from lorary.transforms.merging.checks import refuse_faults
from lorary.transforms.merging.kind import MergeKind
from lorary.transforms.merging.layer import LowRank, MergeLayer
from lorary.transforms.merging.methods.plain import PLAIN
from lorary.transforms.merging.options import build_config
from lorary.transforms.merging.spaces import merge_cores


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Options of ``core``; those of the inner method may be given beside ``inner`` itself."""

    inner: str = "ties"
    """The method applied to the cores."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The inner method's options."""

    def __post_init__(self) -> None:
        refuse_faults(self, [])
        if self.inner not in PLAIN or PLAIN[self.inner].needs_inputs:
            known = [name for name, kind in PLAIN.items() if not kind.needs_inputs]
            raise ValueError(
                f"no inner method of core is named {quote(self.inner)}: {suggest(self.inner, known)}"
            )
        build_config(self.inner, self.kind.config, self.options)

    @property
    def kind(self) -> MergeKind:
        """The inner method."""
        return PLAIN[self.inner]

    @property
    def inner_config(self) -> Any:
        """The inner method's configuration."""
        return build_config(self.inner, self.kind.config, self.options)


def merge_core(layer: MergeLayer, config: CoreConfig) -> LowRank:
    """Write every expert as ``D_e = Q_b M_e Q_a^T`` with small M_e, merge those, and multiply back.

    Lossless: the cores ``M_e`` hold all of the weight changes. Methods that look at single entries see them
    in the experts' principal directions, which depend neither on how each is factored nor on the experts'
    order; other methods give what they give without ``core``. Never forms a weight change; exact but for the
    final cut to a rank. Weights, and what one expert returns, are as the inner method has them.

    Source: Core Space merging, arXiv:2509.17786.
    """
    return merge_cores(config.kind.merge, layer, config.inner_config)
