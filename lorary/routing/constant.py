"""Routers that do not look at the token: all experts alike, or a fixed choice.

Shape letters: T tokens, E experts, I layer input, K experts kept per token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class UniformConfig:
    """Uniform routing has nothing to configure."""


class UniformRouter(nn.Module):
    """Every token uses all experts with equal weights.

    Args:
        num_experts: E, at least 1.

    Raises:
        ValueError: if there is no expert.
    """

    indices: Tensor

    def __init__(self, num_experts: int):
        super().__init__()
        if num_experts < 1:
            raise ValueError(f"num_experts must be at least 1, found {num_experts!r}")
        self.register_buffer("indices", torch.arange(num_experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose all experts for each token of ``x [T, I]``: ``[T, E]`` int64 and ``[T, E]`` float32."""
        shape = (x.shape[0], self.indices.shape[0])
        weights = torch.full(shape, 1 / shape[1], dtype=torch.float32, device=x.device)
        return self.indices.expand(shape), weights

    def extra_repr(self) -> str:
        """Show what cannot be seen from the buffers, as ``print(model)`` does."""
        return f"num_experts={self.indices.shape[0]}"


class FixedRouter(nn.Module):
    """Every token uses the same experts with the same weights; a single expert is the special case.

    Args:
        indices: the experts, ``[K]``, integers from 0.
        weights: how much of each, ``[K]``; any finite numbers, also negative. None for equal ones of sum 1.

    Raises:
        ValueError: if the two disagree on K, K is 0, or a value is out of range.
    """

    indices: Tensor
    weights: Tensor

    def __init__(self, indices: Tensor, weights: Tensor | None = None):
        super().__init__()
        if weights is None:
            weights = torch.full(indices.shape, 1 / max(1, indices.numel()), device=indices.device)
        _check_choice(indices, weights)
        self.register_buffer("indices", indices.long())
        self.register_buffer("weights", weights.detach().float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the same for each token of ``x [T, I]``: ``[T, K]`` int64 and ``[T, K]`` float32."""
        # The model may have been moved to bfloat16, and its buffers with it.
        return self.indices.expand(x.shape[0], -1), self.weights.float().expand(x.shape[0], -1)

    def extra_repr(self) -> str:
        """Show the choice, as ``print(model)`` does."""
        return f"indices={self.indices.tolist()}, weights={self.weights.tolist()}"


def _check_choice(indices: Tensor, weights: Tensor) -> None:
    if indices.ndim != 1 or indices.shape != weights.shape or indices.numel() == 0:
        raise ValueError(
            "indices and weights must be [K], one weight per expert and at least one, "
            f"found {list(indices.shape)} and {list(weights.shape)}"
        )
    if indices.is_floating_point() or indices.min() < 0:
        raise ValueError(f"indices must be integers from 0, found {indices.tolist()}")
    if not weights.isfinite().all():
        raise ValueError(f"weights must be finite, found {weights.tolist()}")
