import math
from dataclasses import replace

import pytest
import torch

from lorary.errors import TrainingError
from lorary.models import find_layers, fold
from lorary.models.attach import attach_slots
from lorary.passes import split_passes
from lorary.passes.layout import Layout
from lorary.training.objectives.lora import LoraExperts
from lorary.training.progress import UnitProgress


@pytest.fixture
def objective(base, make_examples, make_config):
    stack = attach_slots(base.model, find_layers(base.model, "all-linear"), num_slots=3, rank=2)
    return LoraExperts(stack, base, {"poetry": make_examples(1)}, make_config(alpha=2))


@torch.no_grad()
def fill_slot(objective, slot, expert):
    for path, (a, b) in expert.factors.items():
        objective.rows.parts[f"{path}.a"][slot] = a
        objective.rows.parts[f"{path}.b_t"][slot] = b.T


def run(objective, examples, slots, layout):
    """Give the losses of examples in slots, and whose each is."""
    passes = split_passes(examples, slots, layout, tokens_per_pass=30, row_length=16)
    found = [(objective.losses(part, examples, objective.routing(part)), part.sequence) for part in passes]
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


@pytest.mark.parametrize("layout", [Layout.PACKED, Layout.SHARED])
def test_losses_are_those_of_each_example_under_its_own_expert(
    objective, make_examples, compute_loss, make_expert, layout
):
    model = objective.stack.model
    experts = [
        make_expert(objective.stack.detach(), name, seed) for seed, name in enumerate(["poetry", "sql"])
    ]
    folded = [fold(model, expert) for expert in experts]
    objective = remake(objective)
    for slot, expert in enumerate(experts):
        fill_slot(objective, slot, expert)
    examples, slots = make_examples(3, num_train=6).train, [1, 0, 0, 1, 1, 0]
    # Twice the same prompts: with both experts, and with the same expert for two answers.
    examples, slots = [*examples, *examples[:4]], [*slots, 1, 1, 1, 0]
    losses, owner = run(objective, examples, slots, layout)
    assert losses.dtype == torch.float32
    for index, (example, slot) in enumerate(zip(examples, slots, strict=True)):
        found = losses[owner == index]
        assert len(found) == len(example.target_ids)
        torch.testing.assert_close(found.mean(), compute_loss(folded[slot], [example]))


def remake(objective, **changes):
    """Make an objective anew whose stack was detached."""
    model = objective.stack.model
    stack = attach_slots(model, find_layers(model, "all-linear"), num_slots=3, rank=2)
    return LoraExperts(stack, objective.base, objective.examples, replace(objective.config, **changes))


def test_the_scale_multiplies_the_change(objective, make_examples, compute_loss, make_expert):
    expert = make_expert(objective.stack.detach(), "poetry", 0)
    half = type(expert)("half", "", {path: type(f)(f.a, 0.5 * f.b) for path, f in expert.factors.items()})
    folded = fold(objective.stack.model, half)
    objective = remake(objective, alpha=1.0)
    fill_slot(objective, 2, expert)
    (example,) = make_examples(3, num_train=1).train
    losses, _ = run(objective, [example], [2], Layout.SHARED)
    torch.testing.assert_close(losses.mean(), compute_loss(folded, [example]))


def test_no_gradient_reaches_a_slot_that_is_not_used(objective, make_examples):
    torch.nn.init.normal_(objective.rows.values)
    examples = make_examples(3, num_train=4).train
    losses, _ = run(objective, examples, [2, 0, 2, 0], Layout.SHARED)
    objective.rows.add_gradients(losses.sum())
    assert [bool(row.any()) for row in objective.rows.gradients] == [True, False, True]


def test_a_new_expert_starts_as_peft_starts_one(objective):
    rows = objective.rows
    torch.nn.init.normal_(rows.values)
    untouched = rows.values[[0, 2]].clone()
    objective.start("poetry", 1, 5)
    assert torch.equal(rows.values[[0, 2]], untouched)
    for layer in objective.stack.layers.values():
        bound = 1 / math.sqrt(layer.a.shape[2])
        assert not layer.b[1].any()
        assert 0.7 * bound < layer.a[1].abs().max() <= bound
        assert layer.a[1].min() < 0 < layer.a[1].max()


@pytest.mark.parametrize("same_start", [False, True])
def test_a_start_depends_on_the_name_only_where_that_is_wanted_and_never_on_the_slot(objective, same_start):
    objective.stack.detach()
    objective = remake(objective, same_start=same_start)
    for slot, name in enumerate(["poetry", "poetry", "prose"]):
        objective.start(name, slot, 5)
    values = objective.rows.values
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2]) is same_start


def test_a_row_holds_exactly_the_factors_of_its_slot_and_what_is_exported_is_a_copy(objective):
    objective.stack.detach()
    objective = remake(objective, alpha=1.0)  # a scale of a half
    rows = objective.rows
    torch.nn.init.normal_(rows.values)
    exported = objective.export("poetry", rows.values[1], UnitProgress()).factors
    assert list(exported) == list(objective.stack.layers)
    for path, layer in objective.stack.layers.items():
        assert torch.equal(exported[path].a, layer.a[1])
        assert torch.equal(exported[path].b, 0.5 * layer.b[1])
    assert rows.num_parameters == sum(a.numel() + b.numel() for a, b in exported.values())
    before = {path: pair.a.clone() for path, pair in exported.items()}
    rows.values.zero_()
    assert all(torch.equal(pair.a, before[path]) for path, pair in exported.items())


def test_weights_that_are_not_finite_make_no_expert(objective):
    objective.rows.values.fill_(math.inf)
    with pytest.raises(
        TrainingError, match="expert 'poetry': the sum of weights must be finite, found inf after 3 steps"
    ):
        objective.export("poetry", objective.rows.values[0], UnitProgress(step=3))
