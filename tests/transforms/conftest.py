"""A small library of random experts: two layer shapes, mixed ranks, and one expert that lacks a layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lorary.experts import Expert, ExpertCard, Factors

# Module path -> (O, I): two of one shape, one oblong.
LAYERS = {"layers.0.q": (12, 12), "layers.1.q": (12, 12), "layers.0.up": (20, 12), "layers.0.down": (12, 20)}


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """A seeded source of gaussian tensors."""
    generator = torch.Generator().manual_seed(3)
    return lambda *shape, dtype=torch.float32: torch.randn(*shape, generator=generator).to(dtype)


@pytest.fixture
def make_expert(draw: Callable[..., Tensor]) -> Callable[..., Expert]:
    """Draw an expert of a name, rank and dtype, with some of the layers above."""

    def make(name: str, rank: int = 3, dtype: torch.dtype = torch.float32, layers: dict = LAYERS) -> Expert:
        factors = {
            path: Factors(draw(rank, inputs, dtype=dtype), draw(outputs, rank, dtype=dtype))
            for path, (outputs, inputs) in layers.items()
        }
        card = ExpertCard(base_fingerprint="f00d", fan_in_fan_out=True)
        return Expert(name, "tiny", factors, card)

    return make


@pytest.fixture
def experts(make_expert: Callable[..., Expert]) -> dict[str, Expert]:
    """Four experts of ranks 3, 1 and 15 (above every width but one), the last without ``layers.1.q``."""
    few = {path: shape for path, shape in LAYERS.items() if path != "layers.1.q"}
    return {
        "poetry": make_expert("poetry"),
        "sql": make_expert("sql", rank=1),
        "wide": make_expert("wide", rank=15),
        "few": make_expert("few", layers=few),
    }
