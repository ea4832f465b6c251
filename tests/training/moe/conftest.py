"""Examples, and experts of mixed ranks."""

import pytest
import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.models import find_layers, layer_shape
from tests.training.moe.cases import NAMES, TARGETS


@pytest.fixture
def examples(make_examples):
    return {
        name: make_examples(shift, num_train=4 + shift, num_validation=3)
        for name, shift in (("sql", 2), ("law", 5))
    }


@pytest.fixture
def experts(base):
    generator = torch.Generator().manual_seed(3)
    layers = find_layers(base.model, TARGETS)

    def draw(rank):
        return {
            path: Factors(
                torch.randn(rank, layer_shape(layer)[0], generator=generator) / 2,
                torch.randn(layer_shape(layer)[1], rank, generator=generator) / 2,
            )
            for path, layer in layers.items()
        }

    card = ExpertCard(base_fingerprint=base.fingerprint)
    return {name: Expert(name, base.name, draw(1 + place % 3), card) for place, name in enumerate(NAMES)}
