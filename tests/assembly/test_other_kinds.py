"""Experts with more than low-rank factors on a routed model: used by name, not chosen by routers."""

from dataclasses import replace

import pytest
import torch

import lorary
from lorary.data.tokens import TokenizedExample
from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert
from lorary.experts.parts.dora import DoraPart
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.whole import WholePart
from lorary.models import attach_experts, fold
from lorary.training import GateConfig, MoeConfig, TrainConfig, TrainingExamples, search_weights, train_moe
from lorary.training.objectives.gates import train_gates
from lorary.transforms import merge

IDS = torch.tensor([[5, 9, 2, 7, 30, 31], [8, 1, 1, 3, 60, 61], [5, 9, 2, 7, 30, 31], [4, 4, 4, 4, 9, 9]])


@pytest.fixture
def base(build_tiny_base):
    return build_tiny_base()


@pytest.fixture
def experts(base, draw_expert):
    """Two of low-rank factors, one of DoRA with another norm, one of IA3."""
    generator = torch.Generator().manual_seed(5)
    lora = {name: draw_expert(base, name, targets=["q_proj"]) for name in ("law", "sql")}
    dora = draw_expert(base, "dora", targets=["v_proj"])
    magnitudes = {
        path: (DoraPart(torch.rand(pair.b.shape[0], generator=generator) + 0.5),)
        for path, pair in dora.factors.items()
    }
    norm = {"model.norm": (WholePart(weight=torch.rand(16, generator=generator) + 0.5),)}
    scales = {
        "model.layers.0.self_attn.k_proj": (Ia3Part(torch.rand(8, generator=generator) + 0.5, False),),
        "model.layers.1.mlp.down_proj": (Ia3Part(torch.rand(24, generator=generator) + 0.5, True),),
    }
    ia3 = replace(dora, name="ia3", factors={}, parts=scales)
    return {**lora, "dora": replace(dora, parts={**magnitudes, **norm}), "ia3": ia3}


@pytest.fixture
def library(tmp_path, experts):
    library = lorary.Library.open(tmp_path / "lib", create=True)
    for expert in experts.values():
        library.add(expert)
    return library


def load(base, library, **options):
    with pytest.warns(UserWarning, match="'dora' has .*DoRA magnitudes.* routers do not choose it"):
        return lorary.load_model(base, library, **options)


def compute_folded(base, expert, ids):
    return fold(base.model, expert)(input_ids=ids).logits


@torch.no_grad()
def test_they_are_named_in_a_batch_beside_a_router_and_the_base_model(base, experts, library):
    expected = {name: compute_folded(base, expert, IDS) for name, expert in experts.items()}
    plain = base.model(input_ids=IDS).logits
    model = load(base, library, router="arrow", top_k=1)
    assert model.names == ("law", "sql")
    found = model(IDS, experts=["dora", None, "ia3", "law"]).logits
    for row, name in enumerate(["dora", None, "ia3", "law"]):
        wanted = plain if name is None else expected[name]
        torch.testing.assert_close(found[row], wanted[row], atol=2e-5, rtol=1e-4)
    mixed = model(IDS, experts=["dora", "auto", "auto", "ia3"]).logits
    torch.testing.assert_close(mixed[0], expected["dora"][0], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[1], model(IDS).logits[1], atol=1e-5, rtol=1e-5)
    with pytest.raises(IncompatibleExpert, match=r"IA3 scales.*used by name"):
        model.facts.require("ia3")


@torch.no_grad()
def test_a_saved_model_has_them(base, experts, library, tmp_path):
    model = load(base, library)
    expected = model(IDS, experts="dora").logits
    routed = model(IDS).logits
    lorary.save_model(model, tmp_path / "saved", with_base=True)
    with pytest.warns(UserWarning, match="routers do not choose it"):
        again = lorary.load_model(tmp_path / "saved", dtype=torch.float32)
    torch.testing.assert_close(again(IDS, experts="dora").logits, expected)
    torch.testing.assert_close(again(IDS).logits, routed)


@torch.no_grad()
def test_they_are_added_and_removed(base, experts, library):
    del library["ia3"], library["dora"]
    expected = compute_folded(base, experts["dora"], IDS)
    model = lorary.load_model(base, library)
    routed = model(IDS).logits
    model.add_expert(experts["ia3"])
    model.add_expert(experts["dora"])
    model.add_expert(experts["law"].rename("law2"))
    assert model.names == ("law", "sql", "law2")
    torch.testing.assert_close(model(IDS, experts="dora").logits, expected)
    model.remove_expert("law2")
    model.remove_expert("ia3")
    torch.testing.assert_close(model(IDS).logits, routed)
    torch.testing.assert_close(model(IDS, experts="dora").logits, expected)
    with pytest.raises(UnknownExpert):
        model(IDS, experts="ia3")


@torch.no_grad()
def test_without_low_rank_experts_there_is_no_router(base, experts, library):
    del library["law"], library["sql"]
    model = load(base, library)
    assert model.routing[0] is None
    plain = model(IDS).logits
    torch.testing.assert_close(plain, model(IDS, experts=[None] * 4).logits)
    model.detach()
    with (
        pytest.warns(UserWarning, match="routers do not"),
        pytest.raises(IncompatibleExpert, match="router 'arrow' needs"),
    ):
        lorary.load_model(base, library, router="arrow")


@torch.no_grad()
def test_answers_with_a_cache_are_those_without(base, experts, library):
    model = load(base, library)
    for name in ("dora", "ia3"):
        (alone,) = model.generate(["abc"], experts=[name], max_new_tokens=5)
        together = model.generate(["abc", "abcdef", "abc"], experts=[name, "law", None], max_new_tokens=5)
        assert together[0] == alone


@torch.no_grad()
def test_outputs_mix_and_factors_do_not(base, experts, library):
    model = load(base, library)
    plain = model(IDS, experts=[None] * 4).logits
    torch.testing.assert_close(model(IDS, experts={"ia3": 0.0, "dora": 0.0}).logits, plain)
    half = model(IDS, experts={"ia3": 0.5, "law": 0.5}).logits
    assert not torch.allclose(half, plain, atol=1e-3)
    places = torch.tensor([[model.stack.index("ia3"), model.stack.index("law")]])
    with pytest.raises(ValueError, match="'ia3' has more than low-rank factors, so its factors cannot"):
        model.stack.plan(places, torch.tensor([[0.5, 0.5]]), combine="factors")


@torch.no_grad()
def test_sparse_changes_are_routed_token_by_token(base):
    generator = torch.Generator().manual_seed(7)
    experts = {}
    for name in ("one", "two"):
        places = torch.randperm(256, generator=generator)[:64]
        part = SparsePart(torch.randn(64, generator=generator), torch.stack([places // 16, places % 16]), 2)
        experts[name] = Expert(name, base.name, {}, parts={"model.layers.0.self_attn.q_proj": (part,)})
    expected = compute_folded(base, merge(experts, "linear"), IDS)
    with (
        pytest.warns(UserWarning, match="routers do not"),
        pytest.raises(IncompatibleExpert, match="uniform, fixed"),
    ):
        lorary.load_model(base, experts, router="arrow")
    model = lorary.load_model(base, experts, router="uniform")
    assert model.names == ("one", "two")
    torch.testing.assert_close(model(IDS).logits, expected, atol=2e-5, rtol=1e-4)
    with pytest.raises(IncompatibleExpert, match="router 'arrow' needs"):
        model.set_router("arrow")


def test_trainings_over_experts_refuse_other_kinds(base, experts, tmp_path):
    examples = {"ia3": TrainingExamples((TokenizedExample((5, 6), (7,)),))}
    stack = attach_experts(base.model, experts)
    try:
        with pytest.raises(IncompatibleExpert, match=r"training of gates needs .* 'ia3' has IA3 scales"):
            train_gates(stack, examples, GateConfig())
        with pytest.raises(IncompatibleExpert, match=r"LoraHub needs .* 'ia3' has IA3 scales"):
            search_weights(stack, ["law", "ia3"], examples["ia3"].train)
    finally:
        stack.detach()
    config = MoeConfig(warm_start="none", top_k=1, weighting="all", train=TrainConfig(max_steps=1))
    some = {name: experts[name] for name in ("law", "dora")}
    with pytest.raises(IncompatibleExpert, match=r"a router that is trained needs .* 'dora' has"):
        train_moe(base, some, examples, config, tmp_path / "run")


@torch.no_grad()
def test_copies_that_are_not_the_base_model_s_are_not_routed(base, experts):
    words = base.model.get_input_embeddings().weight.detach()

    def copy_words(name, weight):
        parts = {"model.embed_tokens": (WholePart(weight=weight, is_copy=True),)}
        return replace(experts["law"], name=name, parts=parts)

    same, other = copy_words("same", words.clone()), copy_words("other", words + 0.5)
    expected = compute_folded(base, other, IDS)
    some = {"other": other, "same": same, "sql": experts["sql"]}
    match = "'other' has trained weights .*: routers do not choose it"
    with pytest.warns(UserWarning, match=match):
        model = lorary.load_model(base, some, router="arrow", top_k=1)
    assert model.names == ("same", "sql")
    torch.testing.assert_close(model(IDS, experts="other").logits, expected, atol=2e-5, rtol=1e-4)
    model.remove_expert("other")
    routed = model(IDS).logits
    with pytest.warns(UserWarning, match=match):
        model.add_expert(other)
    assert model.names == ("same", "sql")
    torch.testing.assert_close(model(IDS).logits, routed)
    torch.testing.assert_close(model(IDS, experts="other").logits, expected, atol=2e-5, rtol=1e-4)
    model.detach()
    with pytest.warns(UserWarning, match=match):
        model = lorary.load_model(base, {"other": other})
    assert model.routing[0] is None
    model.detach()
    with pytest.warns(UserWarning, match=match), pytest.raises(IncompatibleExpert, match="router 'arrow'"):
        lorary.load_model(base, {"other": other}, router="arrow")
