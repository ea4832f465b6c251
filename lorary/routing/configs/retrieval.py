"""The options of retrieval."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lorary.files import quote
from lorary.routing.configs.checks import check_top_k, refuse_faults
from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """How retrieval turns a request and the experts' examples into a choice of experts."""

    top_k: int = 1
    """Number of experts that each request keeps; with 1 a single expert answers it."""
    temperature: float = 1.0
    """Divides the cosines: a small value gives the best expert all the weight, a large one equal weights."""
    nearest: int = 1
    """Number of an expert's nearest examples; its score is the mean of their cosines."""
    abstain: float | None = None
    """The base model's score, an additional term of the softmax over kept experts; null gives it no
    weight."""

    def __post_init__(self) -> None:
        refuse_faults(self, self._find_faults())

    def _find_faults(self) -> Iterator[str]:
        if self.nearest < 1:
            yield f"nearest must be at least 1, found {quote(self.nearest)}"

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {"embeddings": {}}

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit these experts.

        Raises:
            ValueError: if ``top_k`` is above their number.
        """
        check_top_k(self.top_k, len(names))
