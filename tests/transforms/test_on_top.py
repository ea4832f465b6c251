"""Sums, merges and subtractions of experts that build on a general expert, which counts once."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from lorary.assembly import load_model
from lorary.errors import IncompatibleExpert
from lorary.experts import add_general, hash_weights, write_peft
from lorary.experts.on_top import as_general
from lorary.models import fold
from lorary.transforms import merge, random_expert, subtract_general

IDS = torch.tensor([[5, 9, 200, 31, 7]])


@pytest.fixture
def base(build_tiny_base):
    return build_tiny_base()


@pytest.fixture
def general(base, draw_expert):
    return draw_expert(base, "common", rank=5, role="general")


@pytest.fixture
def experts(base, draw_expert, general):
    """Experts that build on it; one changes fewer layers."""
    weights = hash_weights(general)
    found = {"dates": draw_expert(base, "dates", on_top_of=weights)}
    targets = ["q_proj", "down_proj"]
    return {**found, "narrow": draw_expert(base, "narrow", rank=1, targets=targets, on_top_of=weights)}


def forget(expert):
    return replace(expert, card=replace(expert.card, on_top_of=None))


@torch.no_grad()
def answer(model, **options):
    return model(input_ids=IDS, **options).logits


def dense(expert):
    return {path: pair.b.double() @ pair.a.double() for path, pair in expert.factors.items()}


def assert_same(found, expected):
    zero = torch.zeros(())
    for path in {**found, **expected}:
        torch.testing.assert_close(found.get(path, zero * expected.get(path, zero)), expected[path])


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of PEFT
def test_peft_loads_the_sum_alone_with_equal_logits(base, build_tiny_base, general, experts, tmp_path):
    model = load_model(base, experts, general=general, router=None)
    for name, expert in experts.items():
        write_peft(add_general(expert, general), tmp_path / name)
        plain = build_tiny_base().model
        folded = fold(plain, expert, general=general)
        wanted = answer(model, experts=name)
        torch.testing.assert_close(answer(folded), wanted)
        torch.testing.assert_close(answer(PeftModel.from_pretrained(plain, tmp_path / name)), wanted)


def test_a_sum_without_its_general_expert_is_refused(base, general, experts, draw_expert):
    with pytest.raises(IncompatibleExpert, match=r"of other weights .* than 'other': pass the one"):
        add_general(experts["dates"], draw_expert(base, "other", seed=8))
    with pytest.raises(IncompatibleExpert, match=r"builds on a general expert .* as general="):
        fold(base.model, experts["dates"])
    assert add_general(general, {}) is general


@pytest.mark.parametrize("method", ["linear", "ties", "cat"])
def test_a_merge_counts_it_once_and_stands_on_it(general, experts, method):
    merged = merge(experts, method, weights=[0.75, 0.25], layers="all", rank="full")
    alone = merge(
        {name: forget(each) for name, each in experts.items()},
        method,
        weights=[0.75, 0.25],
        layers="all",
        rank="full",
    )
    assert merged.card.on_top_of == hash_weights(general)
    assert_same(dense(merged), dense(alone))
    if method == "linear":
        sums = {name: add_general(each, general) for name, each in experts.items()}
        whole = merge(sums, "linear", weights=[0.75, 0.25], layers="all", rank="full")
        assert_same(dense(add_general(merged, general)), dense(whole))


def test_merging_with_others_is_refused(base, experts, draw_expert):
    with pytest.raises(IncompatibleExpert, match=r"same general expert, .* 'plain' on none: choose"):
        merge({**experts, "plain": draw_expert(base, "plain")}, "linear", layers="all")


def test_a_general_expert_made_of_a_merge_is_complete(general, experts):
    made = as_general(merge(experts, "linear", layers="all"), {"common": general, **experts})
    assert (made.card.role, made.card.on_top_of) == ("general", None)
    assert made.max_rank > general.max_rank


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_subtracting_it_leaves_what_the_expert_adds(general, experts, scale):
    (rest,) = subtract_general(experts, general, names=["dates"], scale=scale)
    assert rest.card.on_top_of is None
    own, shared = dense(experts["dates"]), dense(general)
    assert_same(dense(rest), {path: own[path] + (1 - scale) * shared[path] for path in own})


def test_subtracting_another_keeps_it(base, general, experts, draw_expert):
    other = draw_expert(base, "other", seed=8)
    (rest,) = subtract_general(experts, other, names=["dates"])
    assert rest.card.on_top_of == hash_weights(general)
    own, shared = dense(experts["dates"]), dense(other)
    assert_same(dense(rest), {path: own[path] - shared[path] for path in own})


def test_a_random_control_stands_where_all_stand(base, general, experts, draw_expert):
    assert random_expert(experts).card.on_top_of == hash_weights(general)
    assert random_expert({**experts, "plain": draw_expert(base, "plain")}).card.on_top_of is None


def test_a_random_control_is_used_with_the_general_expert(base, build_tiny_base, general, experts):
    drawn = random_expert(experts)
    model = load_model(base, experts, general=general, router=None, controls={"random": drawn})
    folded = fold(build_tiny_base().model, add_general(drawn, general))
    torch.testing.assert_close(answer(model, experts="random"), answer(folded))
