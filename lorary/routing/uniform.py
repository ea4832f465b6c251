"""Uniform routing: every token uses all experts with equal weights.

Shape letters: T tokens, E experts, I layer input.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from lorary.routing.configs.uniform import UniformConfig
from lorary.routing.material import LayerMaterial


class UniformRouter(nn.Module):
    """Every token uses all experts with equal weights.

    Args:
        num_experts: E, at least 1.

    Raises:
        ValueError: if there is no expert.
    """

    SHAPES: ClassVar[Mapping[str, str]] = {"indices": "E"}

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
        """Return the options for ``repr``, as ``print(model)`` does."""
        return f"num_experts={self.indices.shape[0]}"


def build_uniform(config: UniformConfig, material: LayerMaterial) -> UniformRouter:
    """Build one layer's uniform router.

    Raises:
        ValueError: if there is no expert.
    """
    return UniformRouter(material.num_experts)
