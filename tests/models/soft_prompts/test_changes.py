"""Models whose experts change, copies, and routers beside soft prompts."""

import copy

import pytest
import torch

from lorary.assembly import load_model
from lorary.models import attach_experts, fold, wrap_base
from lorary.models.grow import drop_expert, insert_expert
from tests.models.soft_prompts.cases import IDS, run, run_peft

pytestmark = pytest.mark.filterwarnings("ignore:expert .* routers do not choose it")


def test_experts_come_and_go(base, everyone, plain):
    models, experts = everyone
    stack = attach_experts(base, {"prompt": experts["prompt"]})
    stack = insert_expert(stack, plain, 0)
    stack = insert_expert(stack, experts["prefix"].rename("prefix"), 1)
    stack = drop_expert(stack, "plain")
    for name in ("prompt", "prefix"):
        with stack.assign([name] * 4):
            torch.testing.assert_close(run(base), run_peft(models[name]), rtol=1e-4, atol=1e-4)
    alone = run(base)
    stack = drop_expert(stack, "prompt")
    with stack.assign(["prefix"] * 4):
        torch.testing.assert_close(run(base), run_peft(models["prefix"]), rtol=1e-4, atol=1e-4)
    stack.detach()
    torch.testing.assert_close(run(base), alone, rtol=0, atol=0)
    assert not base._forward_pre_hooks


def test_a_copy_of_the_model_works_alone(base, everyone):
    models, experts = everyone
    stack = attach_experts(base, experts)
    plan = stack.plan(torch.tensor([[0]] * 4), torch.ones(4, 1))
    copied = copy.deepcopy(base)
    with stack.choosing(plan):
        torch.testing.assert_close(run(base), run_peft(models["prompt"]), rtol=1e-4, atol=1e-4)
        # Its own context has no chooser.
        assert not torch.allclose(run(copied), run(base))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"prompt": 0.5}, "cannot be weighted or combined with another one"),
        ({"prompt": 1.0, "prefix": 1.0}, "cannot be weighted or combined with another one"),
    ],
)
def test_soft_prompts_are_not_weighted(base, everyone, choice, message):
    model = load_model(wrap_base(base), everyone[1], router=None)
    with pytest.raises(ValueError, match=message):
        model(IDS, experts=choice)


def test_a_soft_prompt_and_low_rank_factors_may_be_named_together(base, everyone, plain):
    _, experts = everyone
    expected = attach_experts(fold(base, plain), experts)
    with expected.assign(["prompt"] * 4):
        logits = run(expected.model)
    model = load_model(wrap_base(base), {**experts, "plain": plain}, router=None)
    found = model(IDS, experts={"prompt": 1.0, "plain": 1.0}, use_cache=False).logits
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)


def test_a_router_serves_other_requests_of_the_batch(base, everyone, plain):
    models, experts = everyone
    alone, expected = run(base), run(fold(base, plain))
    model = load_model(wrap_base(base), {**experts, "plain": plain}, router="arrow")
    found = model(IDS, experts=["prompt", "auto", None, "prefix"], use_cache=False).logits
    torch.testing.assert_close(found[0], run_peft(models["prompt"])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], alone[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[3], run_peft(models["prefix"])[3], rtol=1e-4, atol=1e-4)
