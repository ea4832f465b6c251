"""The options of mean-activation routing."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.routing.configs.checks import refuse_faults, resolve_top_k
from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class MeanActivationConfig:
    """How mean-activation routing turns inputs and mean inputs into a choice of experts."""

    top_k: int | None = None
    """Number of experts that each token keeps at each layer; if not given: 4, or all if there are fewer."""
    temperature: float = 1.0
    """Divides the scores: a small value gives the best expert all the weight, a large one equal weights."""
    abstain: float | None = None
    """The base model's score, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self)

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"means": {}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        resolve_top_k(self.top_k, len(names))
