"""Random factors of every awkward shape, and the dense reference they are compared with."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

# (leading sizes, O, R, I): square, oblong both ways, rank one, rank above one width and above both.
SHAPES = [
    ((3,), 16, 4, 16),
    ((2, 3), 24, 4, 10),
    ((3,), 7, 5, 31),
    ((), 9, 1, 12),
    ((3,), 6, 8, 20),
    ((2,), 20, 8, 6),
    ((2,), 5, 12, 7),
]


@pytest.fixture(params=SHAPES, ids=str)
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    """Float64 gaussian factors ``a [*, R, I]``, ``b [*, O, R]``."""
    batch, outputs, rank, inputs = request.param
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(*batch, rank, inputs, generator=generator, dtype=torch.float64)
    b = torch.randn(*batch, outputs, rank, generator=generator, dtype=torch.float64)
    return a, b


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """A seeded source of gaussian tensors."""
    generator = torch.Generator().manual_seed(1)
    return lambda *shape, dtype=torch.float32: torch.randn(*shape, generator=generator).to(dtype)
