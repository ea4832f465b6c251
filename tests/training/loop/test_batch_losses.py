from dataclasses import replace

import pytest
import torch

from lorary.models import find_layers
from lorary.models.attach import attach_slots
from lorary.training.loop.batch_losses import BatchLosses
from lorary.training.objectives.lora import LoraExperts


@pytest.fixture
def objective(base, make_config):
    stack = attach_slots(base.model, find_layers(base.model, "all-linear"), num_slots=3, rank=2)
    objective = LoraExperts(stack, base, {}, make_config())
    torch.manual_seed(0)
    torch.nn.init.normal_(objective.rows.values, std=0.1)
    return objective


@pytest.fixture
def batches(make_examples):
    return {slot: make_examples(slot, num_train=3 + slot).train for slot in (0, 2)}


def run(objective, batches, **changes):
    settings = replace(objective.config.loop, **changes)
    passes = []
    losses = BatchLosses(objective, settings, 10).add_gradients(batches, lambda: passes.append(1))
    return losses, objective.rows.gradients.clone(), len(passes)


def test_each_slot_has_the_mean_loss_of_its_own_tokens(objective, batches):
    runner = BatchLosses(objective, objective.config.loop, 10)
    together = runner.measure(batches)
    for slot, examples in batches.items():
        each = [(runner.measure({slot: [one]})[slot], len(one.target_ids)) for one in examples]
        mean = sum(loss * count for loss, count in each) / sum(count for _, count in each)
        assert together[slot] == pytest.approx(mean, rel=1e-5)


def test_gradients_are_of_the_losses_that_are_measured(objective, batches):
    losses, gradients, _ = run(objective, batches)
    assert losses == pytest.approx(
        BatchLosses(objective, objective.config.loop, 10).measure(batches), rel=1e-5
    )
    assert [bool(row.any()) for row in gradients] == [True, False, True]
    direction = torch.randn(gradients.shape, generator=torch.Generator().manual_seed(1))
    objective.rows.values.data += 1e-3 * direction
    after = BatchLosses(objective, objective.config.loop, 10).measure(batches)
    expected = 1e-3 * float((gradients * direction).sum())
    assert sum(after.values()) - sum(losses.values()) == pytest.approx(expected, rel=0.1)


def test_passes_add_up(objective, batches):
    losses, gradients, num_passes = run(objective, batches)
    objective.rows.gradients.zero_()
    others, added, more = run(objective, batches, tokens_per_pass=1)
    assert (num_passes, more) == (1, 8)
    assert others == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(added, gradients, atol=1e-5, rtol=1e-3)


class Penalised(LoraExperts):
    """Adds the sum of squares of a row, in equal parts to the passes of a step."""

    def survey(self, parts):
        self.num_passes = len(parts)

    def penalty(self, chooser):
        return sum(part.square().sum() for part in self.rows.parts.values()) / self.num_passes


@pytest.mark.parametrize("tokens_per_pass", [2048, 1])
def test_a_penalty_adds_its_gradient_and_is_not_in_the_losses(objective, batches, tokens_per_pass):
    plain, gradients, _ = run(objective, batches, tokens_per_pass=tokens_per_pass)
    objective.__class__ = Penalised
    objective.rows.gradients.zero_()
    losses, found, _ = run(objective, batches, tokens_per_pass=tokens_per_pass)
    assert losses == plain
    torch.testing.assert_close(found, gradients + 2 * objective.rows.values)
    assert BatchLosses(objective, objective.config.loop, 10).measure(batches) == pytest.approx(losses)
