import pytest
import torch

from lorary.models import attach_slots, find_layers
from lorary.training import Progress
from lorary.training.slots import ExpertSlots
from lorary.training.trainee import Trainee


@pytest.fixture
def slots(base):
    return ExpertSlots(attach_slots(base.model, find_layers(base.model, ["q_proj"]), num_slots=2, rank=2))


@pytest.fixture
def make_trainee(slots, make_examples, make_config):
    def make(slot=0, name="poetry", **changes):
        return Trainee(name, make_examples(1, num_validation=2), slots, slot, make_config(**changes))

    return make


def fill_gradients(slots, slot, seed):
    slots.gradients[slot] = torch.randn(slots.num_parameters, generator=torch.Generator().manual_seed(seed))


def test_a_step_clips_updates_and_clears_its_own_slot_alone(make_trainee, slots):
    trainee = make_trainee(max_grad_norm=0.5, schedule="constant", warmup_ratio=0.0)
    fill_gradients(slots, 0, 1)
    fill_gradients(slots, 1, 2)
    values, gradients = slots.values.clone(), slots.gradients.clone()
    reference = torch.nn.Parameter(values[0].clone())
    reference.grad = gradients[0].clone()
    torch.nn.utils.clip_grad_norm_([reference], 0.5)
    torch.optim.AdamW([reference], lr=1e-2, weight_decay=0.0).step()
    trainee.step()
    torch.testing.assert_close(slots.values[0], reference.detach())
    assert torch.equal(slots.values[1], values[1])
    assert not slots.gradients[0].any() and torch.equal(slots.gradients[1], gradients[1])


def test_a_restored_trainee_goes_on_as_if_nothing_had_happened(make_trainee, slots):
    first = make_trainee(slot=0)
    for step in range(2):
        fill_gradients(slots, 0, step)
        first.step()
        first.record_step(1.0, 10)
    first.record_validation(0.5)
    second = make_trainee(slot=1)
    second.restore(first.tensors(), first.progress)
    for trainee in (first, second):
        fill_gradients(slots, trainee.slot, 7)
        trainee.step()
    assert torch.equal(slots.values[0], slots.values[1])
    assert torch.equal(first.final_values(), second.final_values())
    assert first.next_batch() == second.next_batch()


@pytest.mark.parametrize("same_start", [False, True])
def test_experts_start_alike_only_where_that_is_wanted(make_trainee, slots, same_start):
    for slot, name in enumerate(["poetry", "prose"]):
        make_trainee(slot, name, same_start=same_start)
    assert torch.equal(slots.values[0], slots.values[1]) is same_start


def test_saved_tensors_are_copies(make_trainee, slots):
    trainee = make_trainee()
    saved = trainee.tensors()["values"]
    before = saved.clone()
    slots.values.add_(1)
    assert torch.equal(saved, before)


def test_the_last_step_of_the_plan_finishes(make_trainee):
    trainee = make_trainee(max_steps=2)
    trainee.record_step(2.0, 10)
    assert not trainee.progress.is_finished
    trainee.record_step(1.0, 12)
    assert trainee.progress == Progress(step=2, tokens=22, train_curve=[(1, 2.0), (2, 1.0)], is_finished=True)


def test_validation_is_due_at_the_interval_and_at_the_end(make_trainee):
    trainee = make_trainee(max_steps=5, validate_every=2)
    due = []
    for _ in range(5):
        trainee.record_step(1.0, 1)
        due.append(trainee.is_due())
    assert due == [False, True, False, True, True]


def test_validation_is_never_due_without_an_interval(make_trainee):
    trainee = make_trainee(max_steps=1)
    trainee.record_step(1.0, 1)
    assert not trainee.is_due()


def test_the_best_weights_are_kept_and_patience_ends_the_expert(make_trainee, slots):
    trainee = make_trainee(max_steps=50, validate_every=1, patience=2)
    kept = None
    for step, loss in enumerate([3.0, 2.0, 2.5, 1.5, 1.5, 1.6], start=1):
        assert not trainee.progress.is_finished
        slots.values[0] = step
        trainee.record_step(loss, 1)
        trainee.record_validation(loss)
        kept = slots.values[0].clone() if step == 4 else kept
    progress = trainee.progress
    assert (progress.best_step, progress.best_loss, progress.num_worse) == (4, 1.5, 2)
    assert progress.is_finished
    assert torch.equal(trainee.final_values(), kept)


def test_without_validation_the_last_weights_are_kept(make_trainee, slots):
    trainee = make_trainee()
    slots.values[0] = 7
    assert trainee.final_values().eq(7).all()
