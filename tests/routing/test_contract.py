"""What every router promises that decides per token, tested on each of them. A new router joins by itself."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from lorary.errors import UnknownExpert
from lorary.facts import FACTS
from lorary.routing import configure_router
from lorary.routing.material import LayerMaterial
from lorary.routing.named import TOKEN_ROUTERS, list_options

INPUTS = 16

# Router -> options to test it with, each a case of its own; {} where it needs none.
CASES = {
    "arrow": [{}, {"temperature": 0.01}, {"input_norm": "rms", "weigh_by_gain": True}, {"tie_inputs": True}],
    "spectr": [{}, {"input_norm": "unit", "temperature": 0.1}],
    "lag": [{}, {"candidates": 1, "top_k": 1}, {"input_norm": "unit"}],
    "seqr": [{}, {"standardise": False, "input_norm": "unit"}],
    "fixed": [{"weights": {"expert 0": 1.0}}],
    "single": [{"expert": "expert 0"}],
    "moe": [{}, {"top_k": 1}],
}
ALL = {
    f"{name} {options}" if options else name: (name, options)
    for name in TOKEN_ROUTERS
    for options in CASES.get(name, [{}])
}
CHOOSING = [name for name in TOKEN_ROUTERS if "top_k" in list_options(name)]
ABSTAINING = [name for name in TOKEN_ROUTERS if "abstain" in list_options(name)]


def build(name, material, **options):
    config = configure_router(name, options)
    config.check(material.names)
    return TOKEN_ROUTERS[name].build(config, material)


@pytest.fixture(params=ALL.values(), ids=ALL)
def make(request, make_material):
    """Builds the router under test over so many experts."""
    name, options = request.param
    return lambda num_experts, order=None: build(name, make_material(num_experts, order), **options)


def spread(router, x, num_experts):
    """Spread the answer over all experts, ``[T, E]``."""
    indices, weights = router(x)
    return torch.zeros(len(x), num_experts).scatter_add(1, indices, weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [0, 1, 9])
@pytest.mark.parametrize("num_experts", [1, 6])
def test_answer_has_the_promised_shapes_and_dtypes(make, draw, num_experts, tokens, dtype):
    indices, weights = make(num_experts).to(dtype)(draw(tokens, INPUTS, dtype=dtype))
    assert indices.shape == weights.shape == (tokens, indices.shape[1])
    assert indices.dtype == torch.int64 and weights.dtype == torch.float32


@pytest.mark.parametrize("num_experts", [1, 6])
def test_weights_are_positive_and_sum_to_one(make, draw, num_experts):
    _, weights = make(num_experts)(draw(9, INPUTS))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(9))


def test_a_single_expert_gets_everything(make, draw):
    indices, weights = make(1)(draw(9, INPUTS))
    assert not indices.any()
    torch.testing.assert_close(weights, torch.ones(9, 1))


def test_each_expert_is_chosen_at_most_once_per_token(make, draw):
    indices, _ = make(6)(draw(9, INPUTS))
    assert ((indices >= 0) & (indices < 6)).all()
    assert all(len(set(row)) == len(row) for row in indices.tolist())


def test_a_token_is_routed_the_same_alone_and_among_others(make, draw):
    router, x = make(6), draw(9, INPUTS)
    indices, weights = router(x)
    alone, alone_weights = router(x[4:5])
    assert torch.equal(alone[0], indices[4])
    torch.testing.assert_close(alone_weights[0], weights[4])


def test_answers_repeat_and_leave_the_input_alone(make, draw):
    router, x = make(6), draw(9, INPUTS)
    before = x.clone()
    first, second = router(x), router(x)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert torch.equal(x, before)


def test_permuting_the_experts_permutes_the_answer(make, draw):
    order, x = [3, 1, 5, 0, 2, 4], draw(9, INPUTS)
    torch.testing.assert_close(spread(make(6, order), x, 6), spread(make(6), x, 6)[:, order])


def test_bfloat16_gives_nearly_the_same_weights(make, draw):
    x = draw(9, INPUTS, dtype=torch.bfloat16)
    found, expected = spread(make(6).to(torch.bfloat16), x, 6), spread(make(6), x.float(), 6)
    # Close calls may go either way, so most tokens are compared.
    assert ((found - expected).abs().amax(-1) < 0.05).sum() >= 6


def test_a_router_has_buffers_only(make):
    router = make(6)
    assert not list(router.parameters())
    assert list(router.buffers())


def test_building_leaves_the_material_alone(make_material):
    before, material = make_material(6), make_material(6)
    for name, options in ALL.values():
        build(name, material, **options)
    assert material.names == before.names
    for name, known in before.tensors.items():
        assert torch.equal(material.take(name), known)


def test_printing_a_router_shows_its_choice(make):
    assert any(word in repr(make(6)) for word in ("num_experts=6", "indices=[0]"))


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_what_a_router_needs_are_facts_of_layers(name):
    for options in CASES.get(name, [{}]):
        assert all(FACTS[fact].place == "layers" for fact in configure_router(name, options).needs)


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_a_router_is_built_from_what_it_needs_alone(name, make_material, draw):
    options = CASES.get(name, [{}])[0]
    full, needs = make_material(6), configure_router(name, options).needs
    tensors = {tensor: full.take(tensor) for fact in needs for tensor in FACTS[fact].shapes}
    sparse = LayerMaterial(num_experts=6, names=full.names, tensors=tensors, shapes=full.shapes)
    config = configure_router(name, options)
    x = draw(9, INPUTS)
    for found, expected in zip(
        TOKEN_ROUTERS[name].build(config, sparse)(x), TOKEN_ROUTERS[name].build(config, full)(x), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", [name for name in TOKEN_ROUTERS if name != "uniform"])
def test_a_router_without_what_it_needs_is_refused(name):
    options = CASES.get(name, [{}])[0]
    with pytest.raises((ValueError, UnknownExpert)):
        TOKEN_ROUTERS[name].build(configure_router(name, options), LayerMaterial(num_experts=6))


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_options_cannot_be_changed_afterwards(name):
    config = configure_router(name, {})
    for option in list_options(name):
        with pytest.raises(FrozenInstanceError):
            setattr(config, option, 1)


@pytest.mark.parametrize("name", ABSTAINING)
def test_abstaining_takes_a_share_from_all_kept_experts_alike(name, make_material, draw):
    material, x = make_material(6), draw(9, INPUTS)
    options = {"top_k": 3, "temperature": 20.0}
    indices, weights = build(name, material, **options)(x)
    kept, shares = build(name, material, abstain=0.4, **options)(x)
    assert torch.equal(kept, indices)
    assert ((shares.sum(-1) > 0) & (shares.sum(-1) < 1)).all()
    torch.testing.assert_close(shares / shares.sum(-1, keepdim=True), weights)


@pytest.mark.parametrize("name", ABSTAINING)
def test_abstaining_is_in_the_routers_own_units(name, make_material, draw):
    material, x = make_material(6), draw(9, INPUTS)
    _, all_base = build(name, material, abstain=1e4)(x)
    _, no_base = build(name, material, abstain=-1e4)(x)
    torch.testing.assert_close(all_base.sum(-1), torch.zeros(9))
    torch.testing.assert_close(no_base.sum(-1), torch.ones(9))


@pytest.mark.parametrize("name", CHOOSING)
def test_fewer_experts_than_are_kept_by_default_are_all_kept(name, make_material, draw):
    default = configure_router(name, {}).top_k
    indices, _ = build(name, make_material(2))(draw(9, INPUTS))
    assert indices.shape == (9, min(2, default or 2))


@pytest.mark.parametrize("name", CHOOSING)
def test_more_experts_than_there_are_is_refused(name, make_material):
    message = "top_k must be between 1 and the number of experts, 6, found 7"
    config = configure_router(name, {"top_k": 7})
    with pytest.raises(ValueError, match=message):
        config.check([str(number) for number in range(6)])
    with pytest.raises(ValueError, match=message):
        TOKEN_ROUTERS[name].build(config, make_material(6))


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("top_k", 0, "top_k must be at least 1, found 0"),
        ("temperature", 0.0, "temperature must be above 0, found 0.0"),
        ("temperature", -1.0, "temperature must be above 0, found -1.0"),
        (
            "abstain",
            float("nan"),
            "abstain must be finite, or None for no share of the base model, found nan",
        ),
    ],
)
def test_options_out_of_range_are_refused(name, option, value, message):
    if option not in list_options(name):
        pytest.skip("this router has no such option")
    with pytest.raises(ValueError, match=message):
        configure_router(name, {option: value})


@pytest.mark.parametrize("name", ABSTAINING)
def test_all_faults_are_reported_at_once(name):
    with pytest.raises(ValueError, match=r"top_k .*; temperature .*; abstain "):
        configure_router(name, {"top_k": -2, "temperature": -1.0, "abstain": float("inf")})


@pytest.mark.parametrize("name", TOKEN_ROUTERS)
def test_unknown_options_are_refused(name):
    with pytest.raises(ValueError, match=f"router {name!r} has no option 'colour': "):
        configure_router(name, {"colour": 1})
