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


def test_no_expert_at_all_is_refused(llama):
    with pytest.raises(IncompatibleExpert, match="at least one expert to attach, found none"):
        attach_experts(llama, {})


@pytest.mark.parametrize("attach", ["experts", "slots"])
def test_a_model_that_carries_experts_is_refused(llama, experts, attach):
    """Guards a bug: the refusal blamed the new experts, since their layers were wrapped already."""
    layers = find_layers(llama, ["q_proj"])
    attach_experts(llama, experts)
    message = r"some are attached \(at model\.layers\.0\.\S+\): detach them first"
    with pytest.raises(IncompatibleExpert, match=message):
        attach_experts(llama, experts) if attach == "experts" else attach_slots(llama, layers, 1, 1)
