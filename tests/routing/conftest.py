"""Random inputs, prototypes and scores."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """A seeded source of gaussian tensors."""
    generator = torch.Generator().manual_seed(5)
    return lambda *shape, dtype=torch.float32: torch.randn(*shape, generator=generator).to(dtype)


@pytest.fixture
def prototypes(draw: Callable[..., Tensor]) -> Tensor:
    """Unit rows ``[6, 16]``."""
    return normalize(draw(6, 16), dim=-1)
