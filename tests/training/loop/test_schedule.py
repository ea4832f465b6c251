import math

import pytest
import torch

from lorary.experts.seeds import seed_for
from lorary.training.loop.schedule import learning_rate_factor, plan_batches

LENGTHS = [4, 7, 3, 5, 6, 2, 8]


def flatten(batches):
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize("warmup_ratio", [0.0, 0.25])
def test_the_linear_schedule_is_torchs_own(warmup_ratio):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    num_warmup = math.ceil(20 * warmup_ratio)
    parts = [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 20 - num_warmup)]
    if num_warmup:
        rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / num_warmup, 1.0, num_warmup - 1)
        parts = [torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, *parts], [num_warmup])]
    for step in range(20):
        expected = optimizer.param_groups[0]["lr"]
        assert math.isclose(learning_rate_factor(step, 20, warmup_ratio, "linear"), expected, abs_tol=1e-9)
        optimizer.step()
        parts[0].step()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_rate_rises_to_the_peak_and_never_again(schedule):
    factors = [learning_rate_factor(step, 50, 0.1, schedule) for step in range(50)]
    assert factors[:6] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert factors[5:] == sorted(factors[5:], reverse=True)
    assert all(0 < factor <= 1 for factor in factors)


def test_the_shapes_after_the_warm_up_are_as_named():
    assert learning_rate_factor(30, 50, 0.2, "linear") == 0.5
    assert learning_rate_factor(30, 50, 0.2, "cosine") == pytest.approx(0.5)
    assert learning_rate_factor(20, 50, 0.2, "cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert learning_rate_factor(49, 50, 0.2, "constant") == 1.0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_run_of_one_step_takes_it_at_the_peak(schedule):
    assert learning_rate_factor(0, 1, 0.06, schedule) == learning_rate_factor(0, 1, 0.0, schedule) == 1.0


def test_each_epoch_sees_every_example_once_in_an_order_of_its_own():
    order = flatten(plan_batches(LENGTHS, 2, seed=1, epochs=3))
    epochs = [order[:7], order[7:14], order[14:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_batches_are_full_but_for_the_last():
    batches = plan_batches(LENGTHS, 3, seed=1, epochs=3)
    assert [len(batch) for batch in batches] == [3] * 7
    assert [len(batch) for batch in plan_batches(LENGTHS, 3, seed=1, epochs=1)] == [3, 3, 1]


@pytest.mark.parametrize(("epochs", "count"), [(1, 7), (0.5, 4), (2.5, 18), (0.01, 1)])
def test_epochs_bound_the_examples(epochs, count):
    assert len(flatten(plan_batches(LENGTHS, 2, seed=1, epochs=epochs))) == count


@pytest.mark.parametrize("max_steps", [1, 2, 9])
def test_max_steps_bounds_the_batches_and_leaves_them_full(max_steps):
    assert [len(batch) for batch in plan_batches(LENGTHS, 4, seed=1, max_steps=max_steps)] == [4] * max_steps


@pytest.mark.parametrize("max_tokens", [9, 20, 35, 100])
def test_max_tokens_bounds_the_tokens_and_nothing_more_would_fit(max_tokens):
    order = flatten(plan_batches(LENGTHS, 2, seed=1, max_tokens=max_tokens))
    longer = flatten(plan_batches(LENGTHS, 2, seed=1, max_tokens=1000))
    assert order == longer[: len(order)]
    assert sum(LENGTHS[i] for i in order) <= max_tokens
    assert sum(LENGTHS[i] for i in longer[: len(order) + 1]) > max_tokens


def test_the_first_bound_reached_ends_the_plan():
    bounds = {"epochs": 2, "max_steps": 3, "max_tokens": 1000}
    assert len(plan_batches(LENGTHS, 2, seed=1, **bounds)) == 3
    assert len(flatten(plan_batches(LENGTHS, 2, seed=1, **{**bounds, "max_steps": 100}))) == 14
    assert len(plan_batches(LENGTHS, 2, seed=1, **{**bounds, "max_tokens": 1})) == 1


def test_even_the_tightest_bound_leaves_one_example():
    assert [len(batch) for batch in plan_batches(LENGTHS, 2, seed=1, max_tokens=1)] == [1]


def test_one_example_alone_makes_batches_of_repetitions():
    assert plan_batches([5], 2, seed=1, max_steps=3) == [[0, 0]] * 3


def test_a_plan_depends_on_its_seed_alone():
    plans = [plan_batches(LENGTHS, 2, seed=seed, epochs=2) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_an_experts_seed_comes_from_the_runs_seed_and_its_name():
    seeds = {seed_for(seed, name) for seed in (0, 1) for name in ("poetry", "sql")}
    assert len(seeds) == 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for(0, "poetry") == seed_for(0, "poetry")
