"""LAG's options."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorary.files import quote
from lorary.routing.configs.checks import InputNorm, refuse_faults, resolve_top_k
from lorary.routing.configs.contract import Needs

DEFAULT_CANDIDATES = 20


@dataclass(frozen=True, kw_only=True)
class LagConfig:
    """How LAG turns inputs, prototypes and factors into a choice of experts."""

    top_k: int | None = None
    """Number of experts that each token keeps at each layer; if not given: 4, or all candidates if fewer."""
    candidates: int | None = None
    """Number of experts that Arrow selects, at least top_k; if not given: 20, or all if there are fewer."""
    temperature: float = 1.0
    """Divides SpectR's scores: a small value gives the best expert all the weight, a large one equal
    weights."""
    input_norm: InputNorm = "none"
    """What each input is divided by before it is scored: nothing, its norm, or its root mean square."""
    abstain: float | None = None
    """The base model's score, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if self.candidates is not None and self.candidates < max(1, self.top_k or 1):
            yield f"candidates must be at least top_k, and at least 1, found {quote(self.candidates)}"

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"prototypes": {}, "factors": {}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` or ``candidates`` is above their number.
        """
        self.resolve(len(names))

    def resolve(self, num_experts: int) -> tuple[int, int]:
        """Return the number of candidates and the number of kept experts, C and K.

        Raises:
            ValueError: if either is above the number of experts.
        """
        top_k = resolve_top_k(self.top_k, num_experts, min(4, self.candidates or 4))
        if self.candidates is None:
            return max(top_k, min(DEFAULT_CANDIDATES, num_experts)), top_k
        if self.candidates > num_experts:
            raise ValueError(
                f"candidates must be at most the number of experts, {num_experts}, "
                f"found {quote(self.candidates)}"
            )
        return self.candidates, top_k
