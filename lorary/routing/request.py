"""The contract of request routers.

Shape letters: T tokens, I width of a place, F features, B requests, E experts, K experts kept per request,
G groups of layers.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from lorary.routing.contract import Chooser

OUTPUT = "output"
"""The place for inputs of the model's output layer. Other places are module paths of layers with experts,
whose inputs are read, and of other modules, such as blocks, whose outputs are read."""
NAMES = "names"
"""The place for log-likelihoods of experts' names, see ``AskingRouter``."""


class Runs(StrEnum):
    """How prompts are run for a request router."""

    ALONE = "alone"
    """Once, without experts."""
    TOGETHER = "together"
    """Once, with all experts active together, each with weight 1."""
    EACH = "each"
    """Without experts, and with each expert alone."""


class TokenDescriber(Protocol):
    """Computes features of tokens at some places of the base model, which are averaged over a request."""

    @property
    def places(self) -> tuple[str, ...]:
        """The layers whose inputs it uses: module paths of layers with experts, or ``OUTPUT``."""
        ...

    @property
    def skips_first(self) -> bool:
        """Whether a request's first token is left out, unless it is the only one."""
        ...

    @property
    def last_share(self) -> float:
        """Weight of the last token in the average, ``(1 - share) · mean of all + share · last``. With 1, only
        the last tokens are described."""
        ...

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Compute features ``[T, F]`` of the tokens ``[T, I]`` at a place."""
        ...


class RequestRouter(TokenDescriber, Protocol):
    """Chooses experts for whole requests, by the average features of their tokens."""

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose experts for requests.

        Args:
            averages: place -> average features ``[B, F]``.

        Returns:
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32; or weights ``[B, G, K]``, if the router
            is a ``RefiningRouter`` that weighs groups of layers separately.
        """
        ...


@runtime_checkable
class ScoringRouter(Protocol):
    """A request router that scores each expert; explanations and reports show the scores."""

    def score(self, averages: Mapping[str, Tensor]) -> Tensor:
        """Compute the experts' scores ``[B, E]``, higher is better; ``averages`` are those of ``choose``."""
        ...


@runtime_checkable
class ProbingRouter(Protocol):
    """A request router that uses runs with experts; others read the base model without experts."""

    @property
    def runs(self) -> Runs:
        """The runs. With ``EACH``, ``choose`` gets averages ``[B, 1 + E, F]``, first without experts."""
        ...


@runtime_checkable
class RefiningRouter(Protocol):
    """A request router whose choice differs from layer to layer, or from token to token, of a request."""

    def refine(self, indices: Tensor, weights: Tensor, combine: str) -> Chooser:
        """Make the chooser of requests from what ``choose`` returned for them.

        Args:
            indices: the experts of P requests, ``[P, K]``.
            weights: their weights, ``[P, K]`` or ``[P, G, K]``; zeros for requests that use no expert.
            combine: ``"outputs"`` or ``"factors"``.
        """
        ...

    def find_group(self, path: str) -> int:
        """Return the number of a layer's group; always 0 without groups."""
        ...


class Question(NamedTuple):
    """A text that the base model reads, and the experts' names that may follow it."""

    request: int
    """Number of the request that it is about."""
    prompt: str
    """The text."""
    answers: Sequence[str]
    """The texts that may follow, one for each expert of the question."""
    experts: Sequence[int]
    """Their experts."""


@runtime_checkable
class AskingRouter(Protocol):
    """A request router that asks the base model which expert's name follows a text.

    Its ``choose`` gets the log-likelihood of each expert's answer ``[B, E]`` at the place ``NAMES``.
    """

    @property
    def max_tokens(self) -> int:
        """Maximum number of a request's tokens; of a longer request the last ones are used."""
        ...

    def ask(self, requests: Sequence[str]) -> list[Question]:
        """Return the questions about some requests; each expert is in one question of each request."""
        ...
