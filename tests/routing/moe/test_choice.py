import math

import pytest
import torch

from lorary.routing.configs.moe_form import MoeForm, read_form
from lorary.routing.moe.choice import choose_moe
from lorary.routing.moe.router import MoeRouter
from lorary.routing.moe.scores import MoeScores

NAMES = tuple("abcdefg")


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def choose_naively(form, experts, groups):
    """Groups first, then experts in each, of one token: expert -> weight."""

    def softmax(own):
        total = sum(map(math.exp, own.values()))
        return {key: math.exp(value) / total for key, value in own.items()}

    def best(own, count):
        return dict(sorted(own.items(), key=lambda pair: -pair[1])[:count])

    kept = form.weighting == "kept"
    everyone = dict(enumerate(groups.tolist()))
    chosen = best(everyone, form.top_groups)
    shares = softmax(chosen if kept else everyone)
    found = {}
    for group in chosen:
        members = {e: float(experts[e]) for e, own in enumerate(form.groups) if own == group}
        inner = best(members, form.top_k)
        own = softmax(inner if kept else members)
        found |= {e: shares[group] * own[e] for e in inner}
    return found


@pytest.mark.parametrize("weighting", ["kept", "all"])
@pytest.mark.parametrize("top_groups", [1, 2, 3])
def test_groups_are_chosen_first_and_experts_within(weighting, top_groups):
    form = MoeForm(
        experts=NAMES, groups=(0, 1, 0, 2, 1, 0, 2), top_groups=top_groups, top_k=2, weighting=weighting
    )
    experts, groups = draw(20, 7), draw(20, 3)
    found = choose_moe(form, MoeScores(experts=experts, groups=groups))
    assert found.indices.shape == (20, 2 * top_groups)
    for token in range(20):
        expected = choose_naively(form, experts[token], groups[token])
        own = dict(zip(found.indices[token].tolist(), found.weights[token].tolist(), strict=True))
        assert own == pytest.approx(expected, rel=1e-5)
        if weighting == "kept":
            assert sum(own.values()) == pytest.approx(1, rel=1e-5)


def test_shared_experts_are_always_on_with_weight_one_or_a_gate():
    for gate in (False, True):
        form = MoeForm(experts=("a", "b", "c"), shared=("d", "e"), top_k=2, shared_gate=gate)
        joined = draw(form.count(8))
        router = MoeRouter(form, joined, ["d", "c", "x", "b", "a", "e"])
        x = draw(5, 8)
        indices, weights = router(x)
        assert indices.shape == (5, 4)
        assert indices[:, 2:].tolist() == [[0, 5]] * 5
        assert set(indices[:, :2].flatten().tolist()) <= {1, 3, 4}
        gates = joined[24:].view(2, 8) if gate else None
        unit = x / x.norm(dim=1, keepdim=True)
        expected = (unit @ gates.T).sigmoid() if gate else torch.ones(5, 2)
        torch.testing.assert_close(weights[:, 2:], expected)


def test_a_router_is_not_rounded_in_a_16_bit_model():
    form = MoeForm(experts=("a", "b", "c"), top_k=2)
    rows = torch.eye(3, 8) + 1e-4 * draw(3, 8)
    router = MoeRouter(form, rows.flatten(), ["a", "b", "c"])
    x = draw(30, 8).bfloat16()
    expected = (x.float() / x.float().norm(dim=1, keepdim=True)) @ rows.T
    assert torch.equal(router(x)[0], expected.topk(2).indices)
    assert router.KEEPS_FLOAT32 and router(x)[1].dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 8}, "top_k must be between 1 and the number of routed experts, 7, found 8"),
        ({"experts": ("a", "a")}, "experts, each once"),
        ({"shared": ("a",)}, "experts, each once"),
        ({"groups": (0, 0, 0, 0, 0, 0, 1)}, "in the smallest group, 1, found 2"),
        ({"groups": (0, 2, 2, 2, 0, 0, 0)}, "groups must have a number for each expert"),
        ({"groups": (0, 0, 0, 1, 1, 1, 1), "top_groups": 3}, "number of groups, 2, found 3"),
        ({"kind": "dense"}, "kind must be one of linear, product_keys, found 'dense'"),
        ({"kind": "product_keys", "query_size": 3}, "query_size must be even"),
        ({"top_k": True}, "top_k has a value of another type"),
        ({"shared_gate": True}, "shared_gate needs shared experts, found none"),
        ({"kind": "product_keys", "query_size": 4, "num_columns": 3, "num_cells": 7}, "its own cell"),
    ],
)
def test_a_form_that_no_training_makes_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        MoeForm(**{"experts": NAMES, **changes})


def test_a_form_is_read_as_it_was_written():
    form = MoeForm(experts=NAMES, shared=("s",), groups=(0, 1, 0, 1, 0, 1, 1), top_groups=2, shared_gate=True)
    assert read_form(form.dump()) == form
    with pytest.raises(ValueError, match="must have"):
        read_form(b'{"experts": ["a"]}')
