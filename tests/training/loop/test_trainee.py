from dataclasses import replace

import pytest
import torch

from lorary.models import find_layers
from lorary.models.attach import attach_slots
from lorary.training.loop.trainee import Trainee, find_state_fault, plan_unit
from lorary.training.objectives.lora import LoraExperts
from lorary.training.progress import UnitProgress


@pytest.fixture
def stack(base):
    return attach_slots(base.model, find_layers(base.model, ["q_proj"]), num_slots=2, rank=2)


@pytest.fixture
def make_trainee(base, stack, make_examples, make_config):
    objectives = []

    def make(slot=0, name="poetry", **changes):
        config, examples = make_config(**changes), make_examples(1, num_validation=2)
        if not objectives:
            objectives.append(LoraExperts(stack, base, {name: examples}, config))
        return Trainee(name, examples, objectives[0], slot, config.loop)

    make.objectives = objectives
    return make


def fill_gradients(rows, slot, seed):
    rows.gradients[slot] = torch.randn(rows.num_parameters, generator=torch.Generator().manual_seed(seed))


def test_a_step_updates_and_clears_its_own_slot_alone(make_trainee):
    trainee = make_trainee()
    rows = make_trainee.objectives[0].rows
    fill_gradients(rows, 0, 1)
    fill_gradients(rows, 1, 2)
    values, gradients = rows.values.clone(), rows.gradients.clone()
    trainee.step(2.0)
    assert not torch.equal(rows.values[0], values[0]) and torch.equal(rows.values[1], values[1])
    assert not rows.gradients[0].any() and torch.equal(rows.gradients[1], gradients[1])
    assert trainee.progress.train_curve == [(1, 2.0)]


def test_a_restored_trainee_goes_on_as_if_nothing_had_happened(make_trainee):
    first = make_trainee(slot=0)
    rows = make_trainee.objectives[0].rows
    for step in range(2):
        fill_gradients(rows, 0, step)
        first.step(1.0)
    first.record_validation(0.5)
    saved = first.tensors()
    assert find_state_fault(saved, first.progress, make_trainee.objectives[0]) is None
    second = make_trainee(slot=1)
    second.restore(saved, UnitProgress(**vars(first.progress)))
    for trainee in (first, second):
        fill_gradients(rows, trainee.slot, 7)
        trainee.step(1.0)
    assert torch.equal(rows.values[0], rows.values[1])
    assert torch.equal(first.final_values(), second.final_values())
    assert first.next_batch() == second.next_batch()


def test_saved_tensors_are_copies(make_trainee):
    trainee = make_trainee()
    saved = trainee.tensors()["values"]
    before = saved.clone()
    make_trainee.objectives[0].rows.values.add_(1)
    assert torch.equal(saved, before)


def test_the_last_step_of_the_plan_finishes(make_trainee):
    trainee = make_trainee(max_steps=2)
    trainee.step(2.0)
    assert not trainee.progress.is_finished
    trainee.step(1.0)
    assert trainee.progress.is_finished
    assert trainee.progress.tokens == sum(trainee.plan.tokens)
    assert trainee.progress.train_curve == [(1, 2.0), (2, 1.0)]


def test_validation_is_due_at_the_interval_and_at_the_end(make_trainee):
    trainee = make_trainee(max_steps=5, validate_every=2)
    due = []
    for _ in range(5):
        trainee.step(1.0)
        due.append(trainee.is_due())
    assert due == [False, True, False, True, True]


def test_validation_is_never_due_without_an_interval(make_trainee):
    trainee = make_trainee(max_steps=1)
    trainee.step(1.0)
    assert not trainee.is_due()


def test_the_best_weights_are_kept_and_patience_ends_the_expert(make_trainee):
    trainee = make_trainee(max_steps=50, validate_every=1, patience=2)
    values = make_trainee.objectives[0].rows.values
    kept = None
    for step, loss in enumerate([3.0, 2.0, 2.5, 1.5, 1.5, 1.6], start=1):
        assert not trainee.progress.is_finished
        trainee.step(loss)
        values[0] = step
        trainee.record_validation(loss)
        kept = values[0].clone() if step == 4 else kept
    progress = trainee.progress
    assert (progress.best_step, progress.best_loss, progress.num_worse) == (4, 1.5, 2)
    assert progress.is_finished
    assert torch.equal(trainee.final_values(), kept)


def test_without_validation_the_last_weights_are_kept(make_trainee):
    trainee = make_trainee()
    make_trainee.objectives[0].rows.values[0] = 7
    assert trainee.final_values().eq(7).all()


def test_trainings_with_the_same_order_take_the_same_batches(make_examples, make_config):
    settings = make_config(max_steps=6, batch_size=2).loop
    own = [plan_unit(name, make_examples(1), settings) for name in ("sql", "poetry")]
    assert own[0] != own[1]
    ordered = replace(make_examples(1), order="sql")
    shared = [plan_unit(name, ordered, settings) for name in ("sql", "poetry")]
    assert shared == [own[0], own[0]]
    assert ordered.digest != make_examples(1).digest
