"""What is compiled for each kind of device."""

from typing import Protocol

from torch import Tensor


class Operators(Protocol):
    """The operators of inference with a routed model; ``cpu.py`` describes each."""

    FOR_ANY_SIZE: bool
    """Whether they are preferred at all sizes to plain PyTorch's wide products."""

    def mix_rows(
        self,
        x: Tensor,
        a: Tensor,
        b_t: Tensor,
        indices: Tensor,
        weights: Tensor,
        onto: Tensor | None,
        combine: str,
        ranks: Tensor | None = None,
    ) -> Tensor:
        """Shrink, weight and expand."""

    def choose_best(
        self, scores: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Keep the best scores and compute their weights."""

    def choose_along(
        self, x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Score along prototypes, then do the same."""


class TrainingOperators(Operators, Protocol):
    """These operators, and those for gradients."""

    def mix_rows_kept(
        self,
        x: Tensor,
        a: Tensor,
        b_t: Tensor,
        indices: Tensor,
        weights: Tensor,
        onto: Tensor | None,
        combine: str,
        ranks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Shrink, weight and expand; keep the values that gradients need."""

    def shrink_rows(self, x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
        """Project into rank space."""

    def expand_rows(self, weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
        """Expand from rank space to rows."""

    def gather_rows(self, weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
        """Sum rows per expert."""
