"""HiLoRA's options."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorary.files import quote
from lorary.routing.configs.checks import refuse_faults, resolve_top_k
from lorary.routing.configs.contract import Needs

# As in the paper.
DEFAULT_TOP_K = 3


@dataclass(frozen=True, kw_only=True)
class HiloraConfig:
    """How HiLoRA turns likelihoods into experts for a request and into their components for each token."""

    top_k: int | None = None
    """Number of experts that each request keeps; if not given: 3, or all if there are fewer."""
    temperature: float = 0.05
    """Divides the mean log-likelihoods: a small value gives the most likely expert all components."""
    share: float = 0.4
    """Components that each token uses at each layer, as a share of all components of the kept experts; at
    least as many as one expert has."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if not 0 <= self.share <= 1:
            yield f"share must be in [0, 1], found {quote(self.share)}"

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"factors": {}, "components": {}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        resolve_top_k(self.top_k, len(names), DEFAULT_TOP_K)
