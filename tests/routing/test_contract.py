"""What every layer router promises, tested on each of them. A new router joins by a line in the table."""

import pytest
import torch
from torch.nn.functional import normalize

from lorary.routing import ROUTERS, ArrowRouter, FixedRouter, UniformRouter, build_arrow, router_named

INPUTS = 16


def make_prototypes(num_experts):
    generator = torch.Generator().manual_seed(11)
    prototypes = normalize(torch.randn(num_experts, INPUTS, generator=generator), dim=-1)
    return prototypes, torch.rand(num_experts, generator=generator) + 0.5


def make_arrow(num_experts, **options):
    return ArrowRouter(*make_prototypes(num_experts), top_k=min(3, num_experts), **options)


def make_named(name, num_experts):
    kind = ROUTERS[name]
    options = {"top_k": min(2, num_experts)} if name == "arrow" else {}
    return kind.build(kind.config(**options), num_experts, make_prototypes(num_experts))


# Name -> builder of a router over so many experts.
ALL = {
    "arrow": make_arrow,
    "arrow, cold": lambda num_experts: make_arrow(num_experts, temperature=0.01),
    "arrow, unit inputs": lambda num_experts: make_arrow(num_experts, input_norm="unit"),
    "arrow, rms inputs": lambda num_experts: make_arrow(num_experts, input_norm="rms"),
    "arrow, by gain": lambda num_experts: make_arrow(num_experts, weigh_by_gain=True),
    "uniform": UniformRouter,
    "fixed": lambda num_experts: FixedRouter(torch.arange(num_experts).flip(0)),
    **{
        f"ROUTERS[{name!r}]": lambda num_experts, name=name: make_named(name, num_experts) for name in ROUTERS
    },
}


@pytest.fixture(params=ALL.values(), ids=ALL)
def make(request):
    return request.param


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


def test_permuting_the_experts_permutes_the_answer(draw):
    prototypes, gains = make_prototypes(6)
    order, x = torch.tensor([3, 1, 5, 0, 2, 4]), draw(9, INPUTS)
    for options in ({}, {"weigh_by_gain": True}):
        indices, weights = ArrowRouter(prototypes, gains, **options)(x)
        permuted, permuted_weights = ArrowRouter(prototypes[order], gains[order], **options)(x)
        assert torch.equal(order[permuted], indices)
        torch.testing.assert_close(permuted_weights, weights)


def test_a_router_has_buffers_only(make):
    router = make(6)
    assert not list(router.parameters())
    assert list(router.buffers())


def test_an_unknown_router_is_refused_with_the_nearest():
    assert router_named("arrow") is ROUTERS["arrow"]
    with pytest.raises(ValueError, match="no router is named 'arow': did you mean 'arrow'"):
        router_named("arow")


@pytest.mark.parametrize(("prototypes", "found"), [(None, "none"), (make_prototypes(5), "5")])
def test_arrow_without_a_prototype_per_expert_is_refused(prototypes, found):
    with pytest.raises(ValueError, match=f"for each of the 6 experts, found {found}"):
        build_arrow(ROUTERS["arrow"].config(), 6, prototypes)
