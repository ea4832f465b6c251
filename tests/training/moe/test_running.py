"""Runs: killed and resumed, with checkpoints, and what they reach."""

import os
import signal
from itertools import count

import pytest
import torch

from lorary.models import attach_experts
from lorary.models.checkpointing import checkpoint_layers
from lorary.routing.moe.router import MoeRouter
from lorary.training import train_moe
from lorary.training.loop.batch_losses import BatchLosses
from lorary.training.objectives.moe import MoeExperts
from tests.training.moe.by_hand import find_gradients, make_starts
from tests.training.moe.cases import CASES, draw_rows, make_config


@pytest.mark.parametrize(
    "changes",
    [
        {"noise": "gaussian", "train_experts": True},
        {"noise": "jitter", "jitter": 0.3, "kind": "product_keys", "query_size": 6},
    ],
)
def test_a_killed_run_goes_on_to_the_same_bits(base, tmp_path, examples, experts, changes):
    config = make_config({"max_steps": 5, "validate_every": 2, "tokens_per_pass": 20}, **changes)
    whole = train_moe(base, experts, examples, config, tmp_path / "whole")
    for moment in (3, 2, 4):
        child = os.fork()
        if child == 0:
            left = count(1)

            def follow(event, left=left, moment=moment):
                if next(left) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

            train_moe(base, experts, examples, config, tmp_path / "killed", on_progress=follow)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    for outcome in [train_moe(base, experts, examples, config, tmp_path / "killed") for _ in range(2)]:
        assert outcome.progress.train_curve == whole.progress.train_curve
        assert outcome.usage == whole.usage
        for path, own in whole.router.layers.items():
            assert torch.equal(outcome.router.layers[path], own)
        for mine, theirs in zip(whole.experts.values(), outcome.experts.values(), strict=True):
            assert mine.card == theirs.card and mine.name == theirs.name
            assert all(torch.equal(mine.factors[p].b, theirs.factors[p].b) for p in mine.factors)


@pytest.mark.parametrize("noise", ["none", "gaussian"])
def test_running_layers_again_in_backward_does_not_matter(base, examples, experts, noise):
    starts = make_starts(base, make_config().make_form(list(experts)), 7)
    batch = examples["sql"].train
    config = make_config(noise=noise)
    _, plain = find_gradients(base, experts, batch, config, starts)
    stack = attach_experts(base.model, experts, torch.float32)
    objective = MoeExperts(stack, config.make_form(list(experts)), starts, config)
    objective.start("moe", 0, 3)
    with checkpoint_layers(stack):
        BatchLosses(objective, config.train.loop, 12).add_gradients({0: batch}, lambda: None)
    stack.detach()
    for name, gradient in objective.rows.split_row(objective.rows.gradients[0].clone()).items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("case", ["linear", "groups", "keys", "shared"])
def test_training_lowers_the_loss_below_equal_weights(base, tmp_path, examples, experts, case):
    config = make_config(
        {"max_steps": 60, "batch_size": 8},
        balance=0.0,
        z_loss=0.0,
        router_learning_rate=0.1,
        **CASES[case],
    )
    curve = train_moe(base, experts, examples, config, tmp_path / "run").progress.train_curve
    assert sum(loss for _, loss in curve[-6:]) < 0.97 * sum(loss for _, loss in curve[:6])


def test_the_balance_loss_evens_out_the_use_of_experts(base, tmp_path, examples, experts):
    entropies = []
    for balance in (0.0, 10.0):
        config = make_config(
            {"max_steps": 20},
            balance=balance,
            z_loss=0.0,
            warm_start="means",
            start_scale=4.0,
            router_learning_rate=0.1,
        )
        start = draw_rows(base)
        usage = train_moe(base, experts, examples, config, tmp_path / str(balance), start=start).usage
        entropies.append(sum(usage.entropy.values()) / len(usage.entropy))
        assert all(sum(own.values()) == pytest.approx(1) for own in usage.shares.values())
    assert entropies[1] > entropies[0]


def test_a_trained_router_has_the_validation_loss_of_the_run(base, tmp_path, examples, experts, compute_loss):
    config = make_config({"validate_every": 4}, shared=["ode"], shared_gate=True)
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    stack = attach_experts(base.model, experts)
    routers = {
        path: MoeRouter(outcome.router.form, own, list(experts))
        for path, own in outcome.router.layers.items()
    }
    batch = [example for found in examples.values() for example in found.validation]
    with torch.no_grad(), stack.choosing(stack.layer_routers(routers)):
        assert float(compute_loss(base.model, batch)) == pytest.approx(outcome.progress.best_loss, rel=1e-4)
    stack.detach()


def test_the_base_model_is_plain_afterwards(base, tmp_path, examples, experts):
    before = {name: type(module) for name, module in base.model.named_modules()}
    train_moe(base, experts, examples, make_config(train_experts=True), tmp_path / "run")
    assert {name: type(module) for name, module in base.model.named_modules()} == before
