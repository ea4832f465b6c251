"""What is compiled for each kind of device."""

from typing import Protocol

from torch import Tensor


class Operators(Protocol):
    """The operators of one kind of device; ``cpu.py`` says what each does."""

    def mix_rows(
        self,
        x: Tensor,
        a: Tensor,
        b_t: Tensor,
        indices: Tensor,
        weights: Tensor,
        onto: Tensor | None,
        combine: str,
        skip: bool,
        ranks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Shrink, weigh and expand."""

    def shrink_rows(self, x: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
        """Go to rank space."""

    def expand_rows(self, weighed: Tensor, factors: Tensor, indices: Tensor) -> Tensor:
        """Go from rank space to rows."""

    def gather_rows(self, weighed: Tensor, x: Tensor, indices: Tensor, num_experts: int) -> Tensor:
        """Sum rows per expert."""

    def choose_best(
        self, scores: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Keep the best scores and share weight among them."""

    def choose_along(
        self, x: Tensor, prototypes: Tensor, top_k: int, temperature: float, abstain: float | None
    ) -> tuple[Tensor, Tensor]:
        """Score along prototypes, then the same."""
