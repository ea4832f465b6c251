"""The contract of routers that choose once per request.

Shape letters: T tokens, I width of a place, F features, B requests, K experts kept per request.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

OUTPUT = "output"
"""The place for inputs of the model's output layer; other places are module paths of layers with experts."""


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
        """Weight of the last token in the average, ``(1 - share) · mean of all + share · last``."""
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
            Indices ``[B, K]`` int64 and weights ``[B, K]`` float32.
        """
        ...
