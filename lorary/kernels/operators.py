"""What is compiled for each kind of device."""

from typing import Protocol

from torch import Tensor


class Operators(Protocol):
    """The operators that a routed model answers by; ``cpu.py`` says what each does."""

    FOR_ANY_SIZE: bool
    """Whether there is no size at which plain PyTorch's wide products are to be preferred."""

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
        """Shrink, weigh and expand."""

    def choose_best(
        self, scores: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Keep the best scores and share weight among them."""

    def choose_along(
        self, x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Score along prototypes, then the same."""


class TrainingOperators(Operators, Protocol):
    """These, and what gradients are made by."""

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
        """Shrink, weigh and expand; keep what the gradients need."""

    def shrink_rows(self, x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
        """Go to rank space."""

    def expand_rows(self, weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
        """Go from rank space to rows."""

    def gather_rows(self, weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
        """Sum rows per expert."""
