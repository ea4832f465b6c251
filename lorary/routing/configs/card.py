"""The options of routing by cards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorary.files import quote
from lorary.routing.configs.checks import check_top_k, refuse_faults
from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class CardConfig:
    """How the base model chooses experts by reading their cards."""

    top_k: int = 1
    """Number of experts that each request keeps; in the paper, the one that the base model names."""
    temperature: float = 1.0
    """Divides the names' log-likelihoods: a small value gives the best expert all the weight."""
    chunk: int = 32
    """Maximum number of cards in one text; with more experts, the base model reads several texts."""
    max_description: int = 120
    """Maximum number of characters of a card's description, as in the published code."""
    max_tokens: int = 512
    """Maximum number of tokens of a request that are read after the cards; of a longer request, the last
    ones."""
    abstain: float | None = None
    """The base model's log-likelihood, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        for name in ("chunk", "max_description", "max_tokens"):
            if getattr(self, name) < 1:
                yield f"{name} must be at least 1, found {quote(getattr(self, name))}"

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"cards": {}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        check_top_k(self.top_k, len(names))
