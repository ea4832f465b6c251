"""Fixed routing: every token of the model uses the same experts with the same weights.

Shape letters: T tokens, I layer input, K experts that are used.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lorary.routing.configs.fixed import FixedConfig, SingleConfig
from lorary.routing.material import LayerMaterial


class FixedRouter(nn.Module):
    """Every token uses the same experts with the same weights; a single expert is the special case.

    Args:
        indices: the experts, ``[K]``, integers from 0.
        weights: ``[K]``, any finite numbers, also negative. None for equal weights with sum 1.

    Raises:
        ValueError: if the two disagree on K, K is 0, or a value is out of range.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"indices": "K", "weights": "K"}

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
        # If the model was moved to bfloat16, so were its buffers.
        return self.indices.expand(x.shape[0], -1), self.weights.float().expand(x.shape[0], -1)

    def extra_repr(self) -> str:
        """Show the choice, as ``print(model)`` does."""
        return f"indices={self.indices.tolist()}, weights={self.weights.tolist()}"


def build_fixed(config: FixedConfig, material: LayerMaterial) -> FixedRouter:
    """Build one layer's router with fixed weights.

    Raises:
        ValueError: if no expert has a weight.
        UnknownExpert: if a name is not that of one of the experts.
    """
    names = material.names or ()
    config.check(names)
    indices = torch.tensor([names.index(name) for name in config.weights])
    return FixedRouter(indices, torch.tensor(list(config.weights.values()), dtype=torch.float32))


def build_single(config: SingleConfig, material: LayerMaterial) -> FixedRouter:
    """Build one layer's router to a single expert.

    Raises:
        ValueError: if no expert is named.
        UnknownExpert: if it is not one of the experts.
    """
    names = material.names or ()
    config.check(names)
    return FixedRouter(torch.tensor([names.index(str(config.expert))]))


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
