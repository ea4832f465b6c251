import math

import pytest
import torch

from lorary.models import attach_slots, find_layers
from lorary.training.slots import ExpertSlots


@pytest.fixture
def slots(base):
    layers = find_layers(base.model, ["q_proj", "up_proj"])
    return ExpertSlots(attach_slots(base.model, layers, num_slots=3, rank=2))


def test_a_row_holds_exactly_the_factors_of_its_slot(slots):
    torch.nn.init.normal_(slots.values)
    exported = slots.export(slots.values[1], scale=0.5)
    assert list(exported) == list(slots.stack.layers)
    for path, layer in slots.stack.layers.items():
        assert torch.equal(exported[path].a, layer.a[1])
        assert torch.equal(exported[path].b, 0.5 * layer.b[1])
    assert slots.num_parameters == sum(a.numel() + b.numel() for a, b in exported.values())


def test_what_is_exported_is_a_copy(slots):
    torch.nn.init.normal_(slots.values)
    exported = slots.export(slots.values[1], scale=1.0)
    before = {path: pair.a.clone() for path, pair in exported.items()}
    slots.values.zero_()
    assert all(torch.equal(pair.a, before[path]) for path, pair in exported.items())


def test_gradients_add_up_in_the_row_of_the_slot(slots):
    torch.nn.init.normal_(slots.values)
    layer = slots.stack.layers["model.layers.0.self_attn.q_proj"]
    slots.add_gradients(3 * layer.a[1].sum())
    slots.add_gradients(layer.a[1].sum())
    expected = torch.zeros(3, slots.num_parameters)
    expected[1, : layer.a[1].numel()] = 4
    assert torch.equal(slots.gradients, expected)


def test_a_new_expert_starts_as_peft_starts_one(slots):
    torch.nn.init.normal_(slots.values)
    untouched = slots.values[[0, 2]].clone()
    slots.initialise(1, seed=5)
    assert torch.equal(slots.values[[0, 2]], untouched)
    for layer in slots.stack.layers.values():
        bound = 1 / math.sqrt(layer.a.shape[2])
        assert not layer.b[1].any()
        assert 0.7 * bound < layer.a[1].abs().max() <= bound
        assert layer.a[1].min() < 0 < layer.a[1].max()


def test_a_start_depends_on_the_seed_and_not_on_the_slot(slots):
    for slot, seed in enumerate([5, 5, 6]):
        slots.initialise(slot, seed)
    assert torch.equal(slots.values[0], slots.values[1])
    assert not torch.equal(slots.values[0], slots.values[2])
