"""qa-FLoRA's options."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.routing.configs.checks import check_top_k, refuse_faults
from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class QaFloraConfig:
    """How qa-FLoRA turns divergences from the base model into weights of experts for each block."""

    top_k: int | None = None
    """Number of experts that each request keeps, by their mean weight over all blocks; if not given: all."""

    def __post_init__(self) -> None:
        refuse_faults(self)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from: none, it runs the experts."""
        return {}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        if self.top_k is not None:
            check_top_k(self.top_k, len(names))
