"""Other models, 16-bit numbers, and experts of zeros."""

from dataclasses import replace

import pytest
import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.models import attach_experts, find_layers, layer_shape
from lorary.routing.moe.router import MoeRouter
from lorary.training import train_moe
from tests.training.moe.cases import CASES, NAMES, make_config


@pytest.mark.parametrize(("family", "targets"), [("gpt2", ["c_attn", "c_proj"]), ("llama", ["q_proj"])])
def test_other_layers_and_16_bit_numbers_are_trained_and_routed_the_same(
    build_base, tmp_path, examples, compute_loss, family, targets
):
    base = build_base(family, torch.bfloat16)
    generator = torch.Generator().manual_seed(3)
    sizes = {path: layer_shape(layer) for path, layer in find_layers(base.model, targets).items()}
    experts = {
        name: Expert(
            name,
            base.name,
            {
                path: Factors(
                    torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator) / 4
                )
                for path, (width, out) in sizes.items()
            },
            ExpertCard(base_fingerprint=base.fingerprint),
        )
        for name in NAMES[:3]
    }
    config = make_config({"max_steps": 2, "validate_every": 2})
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    stack = attach_experts(base.model, experts)
    routers = {
        path: MoeRouter(outcome.router.form, own, list(experts))
        for path, own in outcome.router.layers.items()
    }
    batch = [example for found in examples.values() for example in found.validation]
    with torch.no_grad(), stack.choosing(stack.layer_routers(routers)):
        assert float(compute_loss(base.model, batch)) == pytest.approx(outcome.progress.best_loss, rel=0.02)
    stack.detach()


@pytest.mark.parametrize("case", ["linear", "all", "keys", "kept groups", "trained"])
def test_an_expert_of_zeros_is_routed_to_like_the_base_model(
    base, tmp_path, examples, experts, compute_loss, case
):
    """An expert without weight changes, or without some layers, has scores and shares; nothing is NaN."""
    zeros = {path: Factors(a, b * 0) for path, (a, b) in experts["ode"].factors.items()}
    experts["ode"] = replace(experts["ode"], factors=zeros)
    fewer = {path: pair for path, pair in experts["art"].factors.items() if path.endswith("q_proj")}
    experts["art"] = replace(experts["art"], factors=fewer)
    config = make_config({"max_steps": 3, "validate_every": 3}, **CASES[case])
    outcome = train_moe(base, experts, examples, config, tmp_path / "run")
    assert all(own.isfinite().all() for own in outcome.router.layers.values())
    assert len(outcome.usage.average()) == len(NAMES)
    used = outcome.experts if config.train_experts else experts
    stack = attach_experts(base.model, used)
    routers = {
        path: MoeRouter(outcome.router.form, own, list(used)) for path, own in outcome.router.layers.items()
    }
    batch = [example for found in examples.values() for example in found.validation]
    with torch.no_grad(), stack.choosing(stack.layer_routers(routers)):
        assert float(compute_loss(base.model, batch)) == pytest.approx(outcome.progress.best_loss, rel=1e-4)
    stack.detach()


def test_experts_of_zeros_only_leave_the_base_model_as_it_is(base, tmp_path, examples, experts, compute_loss):
    nothing = {
        name: replace(expert, factors={path: Factors(a, b * 0) for path, (a, b) in expert.factors.items()})
        for name, expert in experts.items()
    }
    config = make_config({"max_steps": 2, "validate_every": 2})
    outcome = train_moe(base, nothing, examples, config, tmp_path / "run")
    batch = [example for found in examples.values() for example in found.validation]
    with torch.no_grad():
        plain = float(compute_loss(base.model, batch))
    assert outcome.progress.best_loss == pytest.approx(plain, rel=1e-5)
