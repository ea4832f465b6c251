"""Routers that decide once per request: what they promise.

Shape letters: T tokens, F features, B requests, E experts, K experts kept per request.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

OUTPUT = "output"
"""The place before the model's output layer; all other places are module paths of layers with experts."""


class TokenReader(Protocol):
    """Describes tokens at some places of the base model by features, which are averaged over a request."""

    @property
    def places(self) -> tuple[str, ...]:
        """Where it uses tokens: module paths of layers with experts (their inputs), or ``OUTPUT``."""
        ...

    @property
    def skips_first(self) -> bool:
        """Whether a request's first token is left out, unless it is the only one."""
        ...

    @property
    def last_share(self) -> float:
        """How much the last token counts over and above: ``(1 - share) · mean of all + share · last``."""
        ...

    def describe(self, place: str, x: Tensor) -> Tensor:
        """Turn tokens ``[T, I]`` at a place into features ``[T, F]``, whose average over a request counts."""
        ...


class RequestRouter(TokenReader, Protocol):
    """Chooses experts for whole requests, by averages of the base model's activations on their tokens."""

    def choose(self, averages: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Choose by averages ``[B, F]`` per place: indices ``[B, K]`` int64, weights ``[B, K]`` float32."""
        ...
