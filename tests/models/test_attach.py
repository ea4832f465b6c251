import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.models import attach_experts, find_layers, fold
from lorary.models.attach import attach_slots
from lorary.routing.arrow import ArrowRouter


def make_arrow_routers(stack, **options):
    generator = torch.Generator().manual_seed(5)
    return {
        path: ArrowRouter(torch.randn(len(stack.names), layer.a.shape[2], generator=generator), **options)
        for path, layer in stack.layers.items()
    }


def test_an_assigned_expert_answers_as_the_model_it_is_folded_into(
    family, build_base, make_expert, compute_logits
):
    base = build_base(family)
    experts = {name: make_expert(base, name, seed=seed) for seed, name in enumerate(["poetry", "sql"])}
    plain = compute_logits(base)
    expected = {name: compute_logits(fold(base, expert)) for name, expert in experts.items()}
    stack = attach_experts(base, experts)
    with stack.assign(["sql", None, "poetry"]):
        mixed = compute_logits(base)
    for row, logits in enumerate([expected["sql"], plain, expected["poetry"]]):
        torch.testing.assert_close(mixed[row], logits[row], rtol=1e-4, atol=1e-4)
    for name in experts:
        with stack.assign([name] * 3):
            torch.testing.assert_close(compute_logits(base), expected[name], rtol=1e-4, atol=1e-4)


def test_experts_of_mixed_ranks_and_layers_stand_side_by_side(llama, make_expert, compute_logits):
    experts = {
        "small": make_expert(llama, "small", rank=1, targets=["q_proj"]),
        "large": make_expert(llama, "large", rank=5, seed=2),
        "apart": make_expert(llama, "apart", rank=2, targets=["down_proj"], seed=3),
    }
    expected = {name: compute_logits(fold(llama, expert)) for name, expert in experts.items()}
    stack = attach_experts(llama, experts)
    with stack.assign(list(experts)):
        found = compute_logits(llama)
    for row, name in enumerate(experts):
        torch.testing.assert_close(found[row], expected[name][row], rtol=1e-4, atol=1e-4)
    ranks = {path.rsplit(".", 1)[-1]: layer.list_ranks() for path, layer in stack.layers.items()}
    assert (ranks["q_proj"], ranks["down_proj"], ranks["up_proj"]) == ([1, 5, 0], [0, 5, 2], [0, 5, 0])


<<<<<<< HEAD
=======
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


>>>>>>> 9e278cd (What only tests used goes: set_routers, stack_factors, run_pass; one PADDING)
@pytest.mark.parametrize("combine", ["outputs", "factors"])
@pytest.mark.parametrize("decide", ["plan", "router"])
def test_generating_with_a_cache_equals_full_passes(
    family, build_base, make_expert, input_ids, decide, combine
):
    base = build_base(family)
    stack = attach_experts(base, {name: make_expert(base, name, seed=i) for i, name in enumerate("abc")})
    indices, weights = (
        torch.tensor([[0, 1], [2, 2], [1, 0]]),
        torch.tensor([[0.5, 0.25], [1.0, 0.0], [0.0, 0.0]]),
    )
    if decide == "router":
        stack.set_default(stack.layer_routers(make_arrow_routers(stack, top_k=2), combine))
        generated, expected = generate_both_ways(base, input_ids)
    else:
        with stack.planned(indices, weights, combine):
            generated, expected = generate_both_ways(base, input_ids)
    assert torch.equal(generated, expected)


def generate_both_ways(model, input_ids):
    """Greedy tokens from ``generate``, and one by one from passes over everything so far."""
    generated = model.generate(
        input_ids=input_ids, attention_mask=torch.ones_like(input_ids), max_new_tokens=5, do_sample=False
    )
    for _ in range(5):
        with torch.no_grad():
            logits = model(input_ids=input_ids, use_cache=False).logits[:, -1]
        input_ids = torch.cat([input_ids, logits.argmax(-1, keepdim=True)], 1)
    return generated, input_ids


def test_with_nobody_deciding_the_model_is_exactly_the_base(family, build_base, make_expert, compute_logits):
    base = build_base(family)
    plain = compute_logits(base)
    stack = attach_experts(base, {"poetry": make_expert(base)})
    assert torch.equal(compute_logits(base), plain)
    with stack.assign([None, None, None]):
        assert torch.equal(compute_logits(base), plain)


<<<<<<< HEAD
=======
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


>>>>>>> 9e278cd (What only tests used goes: set_routers, stack_factors, run_pass; one PADDING)
def test_stacks_take_their_layers_dtype_or_the_one_asked_for(llama, experts):
    llama.bfloat16()
    stack = attach_experts(llama, experts)
    assert {tensor.dtype for layer in stack.layers.values() for tensor in (layer.a, layer.b_t)} == {
        torch.bfloat16
    }
    stack.detach()
    stack = attach_experts(llama, experts, dtype=torch.float32)
    layer = stack.layers["model.layers.1.mlp.up_proj"]
    assert layer.b_t.is_contiguous()
    assert torch.equal(layer.b[1], experts["sql"].factors["model.layers.1.mlp.up_proj"].b)


def test_layers_stand_in_the_models_order_whatever_the_experts(llama, make_expert):
    factors = dict(reversed(make_expert(llama).factors.items()))
    stack = attach_experts(llama, {"poetry": Expert("poetry", "", factors)})
    assert list(stack.layers) == list(reversed(factors))


def test_slots_are_empty_experts(llama, compute_logits):
    plain = compute_logits(llama)
    stack = attach_slots(llama, find_layers(llama, ["q_proj", "up_proj"]), num_slots=2, rank=4)
    assert stack.names == ("slot 0", "slot 1")
    assert [tuple(layer.a.shape) for layer in stack.layers.values()] == [(2, 4, 32)] * 4
    assert [tuple(layer.b.shape) for layer in stack.layers.values()] == [(2, 32, 4), (2, 48, 4)] * 2
    with stack.assign(["slot 0", "slot 1", "slot 1"]):
        torch.testing.assert_close(compute_logits(llama), plain)


<<<<<<< HEAD
=======
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
        pytest.raises(ValueError, match="give one expert per sequence of the batch"),
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


>>>>>>> 9e278cd (What only tests used goes: set_routers, stack_factors, run_pass; one PADDING)
def test_no_expert_at_all_is_refused(llama):
    with pytest.raises(IncompatibleExpert, match="there is no expert to put on the model: add one"):
        attach_experts(llama, {})


@pytest.mark.parametrize("attach", ["experts", "slots"])
def test_a_model_that_carries_experts_is_refused(llama, experts, attach):
    """Guards a bug: the refusal blamed the new experts, since their layers were wrapped already."""
    layers = find_layers(llama, ["q_proj"])
    attach_experts(llama, experts)
    message = r"the model carries experts already \(at model\.layers\.0\.\S+\): detach those first"
    with pytest.raises(IncompatibleExpert, match=message):
        attach_experts(llama, experts) if attach == "experts" else attach_slots(llama, layers, 1, 1)
