import pytest
import torch

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert, Factors
from lorary.models import attach_experts, fold
from lorary.routing.fixed import FixedRouter
from lorary.routing.uniform import UniformRouter


def test_a_plan_of_several_experts_adds_up_their_changes(llama, experts, compute_logits):
    """Combined outputs are one expert whose factors are the weighted ones, one under the other."""
    one, other = experts["poetry"].factors, experts["law"].factors
    joined = {
        path: Factors(
            torch.cat([one[path].a, other[path].a]), torch.cat([0.25 * one[path].b, 0.5 * other[path].b], 1)
        )
        for path in one
    }
    expected = compute_logits(fold(llama, Expert("joined", "", joined)))
    stack = attach_experts(llama, experts)
    with stack.planned(torch.tensor([[0, 2]] * 3), torch.tensor([[0.25, 0.5]] * 3)):
        torch.testing.assert_close(compute_logits(llama), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("combine", ["outputs", "factors"])
def test_uniform_routers_do_what_a_uniform_plan_does(llama, experts, compute_logits, combine):
    stack = attach_experts(llama, experts)
    with stack.planned(torch.tensor([[0, 1, 2]] * 3), torch.full((3, 3), 1 / 3), combine=combine):
        planned = compute_logits(llama)
    stack.set_default(stack.layer_routers({path: UniformRouter(3) for path in stack.layers}, combine))
    torch.testing.assert_close(compute_logits(llama), planned, rtol=1e-4, atol=1e-4)


def test_set_aside_experts_come_back_even_after_an_error(family, build_base, make_expert, compute_logits):
    base = build_base(family)
    plain = compute_logits(base)
    stack = attach_experts(base, {"poetry": make_expert(base)})
    stack.set_default(stack.layer_routers({path: FixedRouter(torch.tensor([0])) for path in stack.layers}))
    routed = compute_logits(base)
    with stack.set_aside() as bare:
        assert torch.equal(compute_logits(bare), plain)
    assert torch.equal(compute_logits(base), routed)
    with pytest.raises(IncompatibleExpert), stack.set_aside():
        raise IncompatibleExpert("stop")
    assert torch.equal(compute_logits(base), routed)


def test_detaching_gives_back_the_very_same_model(family, build_base, make_expert, compute_logits):
    base = build_base(family)
    before = [(path, id(module)) for path, module in base.named_modules()]
    parameters = [(name, id(parameter)) for name, parameter in base.named_parameters()]
    plain = compute_logits(base)
    stack = attach_experts(base, {"poetry": make_expert(base)})
    stack.set_default(stack.layer_routers({path: FixedRouter(torch.tensor([0])) for path in stack.layers}))
    assert not torch.equal(compute_logits(base), plain)
    assert stack.detach() is base
    assert [(path, id(module)) for path, module in base.named_modules()] == before
    assert [(name, id(parameter)) for name, parameter in base.named_parameters()] == parameters
    assert torch.equal(compute_logits(base), plain)
    attach_experts(base, {"poetry": make_expert(base)})


def test_an_assignment_ends_with_its_context_even_by_an_error(llama, experts, compute_logits):
    stack = attach_experts(llama, experts)
    plain = compute_logits(llama)
    with pytest.raises(RuntimeError, match="stop"), stack.assign(["law"] * 3):
        raise RuntimeError("stop")
    assert torch.equal(compute_logits(llama), plain)


def test_an_inner_assignment_gives_way_to_the_outer_one(llama, experts, compute_logits):
    stack = attach_experts(llama, experts)
    stack.set_default(stack.layer_routers({path: UniformRouter(3) for path in stack.layers}, "factors"))
    routed = compute_logits(llama)
    with stack.assign(["law"] * 3):
        outer = compute_logits(llama)
        with stack.planned(torch.tensor([[1]] * 3), torch.ones(3, 1), combine="outputs"):
            assert not torch.allclose(compute_logits(llama), outer, atol=1e-2)
        assert torch.equal(compute_logits(llama), outer)
    assert torch.equal(compute_logits(llama), routed)
    stack.set_default(None)
    assert not torch.allclose(compute_logits(llama), routed, atol=1e-2)


def test_a_batch_of_another_size_than_assigned_is_refused(llama, experts, compute_logits):
    stack = attach_experts(llama, experts)
    with (
        stack.assign(["law", "sql"]),
        pytest.raises(ValueError, match="pass experts for each sequence of the batch"),
    ):
        compute_logits(llama)


def test_an_unknown_expert_is_refused_with_the_nearest(llama, experts):
    stack = attach_experts(llama, experts)
    message = "this model has no expert 'poerty': did you mean 'poetry'?"
    with pytest.raises(UnknownExpert, match=message), stack.assign(["poerty"]):
        pass
    assert stack.context.active is stack.context.default


def test_a_layer_without_a_router_is_refused(llama, experts):
    stack = attach_experts(llama, experts)
    routers = {path: UniformRouter(3) for path in stack.layers}
    del routers["model.layers.1.mlp.up_proj"]
    message = (
        r"every layer with experts needs a router, 1 have none, such as 'model\.layers\.1\.mlp\.up_proj'"
    )
    with pytest.raises(ValueError, match=message):
        stack.set_default(stack.layer_routers(routers))
    assert all(layer.router is None for layer in stack.layers.values())
