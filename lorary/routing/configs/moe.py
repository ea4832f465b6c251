"""The options of a trained mixture-of-experts router."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.routing.configs.checks import check_top_k, refuse_faults
from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class MoeRouterConfig:
    """How a trained router is used; all other settings belong to its training."""

    top_k: int | None = None
    """Number of experts that each token keeps at each layer (with groups: of each kept group), in addition to
    shared experts; if not given: as in training."""

    trained: str | None = None
    """Name of a trained router in the library; if not given: the only one."""

    def __post_init__(self) -> None:
        refuse_faults(self)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"moe": {} if self.trained is None else {"trained": self.trained}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        if self.top_k is not None:
            check_top_k(self.top_k, len(names))
