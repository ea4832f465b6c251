"""Merging sparse changes: the union of entries, equal to the dense sum; other methods refuse."""

import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.whole import WholePart
from lorary.models import fold
from lorary.transforms import make_recipe, merge, plan_merge

PATHS = ("model.layers.0.up_proj", "model.layers.1.up_proj")
SHAPE = (20, 12)


def draw(name, seed, rank=1, paths=PATHS):
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for path in paths:
        places = torch.randperm(240, generator=generator)[: rank * 32]
        indices = torch.stack([places // 12, places % 12])
        parts[path] = (SparsePart(torch.randn(rank * 32, generator=generator), indices, rank),)
    return Expert(name, "org/base", {}, parts=parts)


def dense(expert, path):
    (part,) = expert.parts[path]
    return torch.zeros(SHAPE).index_put(tuple(part.indices), part.values)


@pytest.fixture
def experts():
    return {"a": draw("a", 0), "b": draw("b", 1), "c": draw("c", 2, rank=2)}


@pytest.mark.parametrize(
    ("method", "options", "weights"),
    [
        ("linear", {}, (1 / 3, 1 / 3, 1 / 3)),
        ("cat", {"weights": {"a": 2.0, "b": -1.0, "c": 0.5}}, (2, -1, 0.5)),
        ("task_arithmetic", {"scale": 0.4}, (0.4, 0.4, 0.4)),
        ("linear", {"weights": {"a": 1.0, "b": 1.0, "c": 2.0}, "normalize": True}, (0.25, 0.25, 0.5)),
    ],
)
def test_it_is_the_dense_sum(experts, method, options, weights, tmp_path):
    merged = merge(experts, method, **options)
    for path in PATHS:
        expected = sum(
            weight * dense(expert, path) for weight, expert in zip(weights, experts.values(), strict=True)
        )
        torch.testing.assert_close(dense(merged, path), expected)
        assert len(merged.parts[path][0].values) == merged.parts[path][0].rank * 32
    assert merged.card.parents == ("a", "b", "c")
    write_peft(merged, tmp_path / "merged")
    torch.testing.assert_close(dense(read_peft(tmp_path / "merged"), PATHS[0]), dense(merged, PATHS[0]))


def test_pico_is_refused(experts):
    with pytest.raises(IncompatibleExpert, match="pico can be used for experts of low-rank factors only"):
        merge(experts, "linear", pico="merge")


def draw_factors(name, seed, rank, paths=PATHS):
    generator = torch.Generator().manual_seed(seed)
    factors = {
        path: Factors(torch.randn(rank, 12, generator=generator), torch.randn(20, rank, generator=generator))
        for path in paths
    }
    return Expert(name, "org/base", factors)


@pytest.mark.parametrize(
    ("method", "options", "weights"),
    [
        ("cat", {}, (1 / 4, 1 / 4, 1 / 4, 1 / 4)),
        (
            "linear",
            {"rank": "full", "weights": (2.0, -1.0, 0.5, 0.5), "normalize": True},
            (1, -0.5, 0.25, 0.25),
        ),
        ("task_arithmetic", {"rank": 5, "scale": 0.3}, (0.3, 0.3, 0.3, 0.3)),
    ],
)
def test_low_rank_and_sparse_experts_become_one_with_both(experts, method, options, weights, tmp_path):
    mixed = {
        "a": experts["a"],
        "low": draw_factors("low", 5, 2),
        "c": experts["c"],
        "lower": draw_factors("lower", 6, 3),
    }
    merged = merge(mixed, method, names=list(mixed), **options)
    assert merged.kinds == ["sparse"] and list(merged.factors) == list(PATHS)
    for path in PATHS:
        both = dense(merged, path) + merged.factors[path].b @ merged.factors[path].a
        expected = torch.zeros(SHAPE)
        for weight, expert in zip(weights, mixed.values(), strict=True):
            own = dense(expert, path) if expert.parts else expert.factors[path].b @ expert.factors[path].a
            expected += weight * own
        torch.testing.assert_close(both, expected)
    assert plan_merge(mixed, make_recipe(list(mixed), method)).layers[0].total_rank == 1 + 2 + 2 + 3
    with pytest.raises(ValueError, match="cannot be written as a PEFT adapter"):
        write_peft(merged, tmp_path / "merged")


def test_an_expert_with_both_is_folded(build_tiny_base):
    base = build_tiny_base()
    path = "model.layers.0.self_attn.o_proj"
    weight = dict(base.model.named_modules())[path].weight.detach()
    outputs, inputs = weight.shape
    indices = torch.stack(
        [torch.arange(outputs + inputs) % outputs, torch.arange(outputs + inputs) // outputs]
    )
    sparse = SparsePart(torch.ones(outputs + inputs), indices, 1)
    pair = Factors(torch.ones(1, inputs), torch.full((outputs, 1), 0.5))
    mixed = {
        "a": Expert("a", base.name, {}, parts={path: (sparse,)}),
        "low": Expert("low", base.name, {path: pair}),
    }
    merged = merge(mixed, "task_arithmetic", names=["a", "low"])
    folded = dict(fold(base.model, merged).named_modules())[path].weight
    expected = weight + pair.b @ pair.a + torch.zeros_like(weight).index_put(tuple(indices), sparse.values)
    torch.testing.assert_close(folded.detach(), expected)


def test_a_lower_rank_cuts_the_factors_only(experts):
    mixed = {"a": experts["a"], "low": draw_factors("low", 5, 2), "lower": draw_factors("lower", 6, 3)}
    merged = merge(mixed, "linear", names=list(mixed), rank=2)
    assert merged.max_rank == 2
    errors = merged.card.provenance["truncation_error"]
    assert all(0 < error < 1 for error in errors.values())
    torch.testing.assert_close(dense(merged, PATHS[0]), dense(experts["a"], PATHS[0]) / 3)


def test_layers_of_both_kinds_may_differ(experts):
    mixed = {"a": draw("a", 0, paths=PATHS[:1]), "low": draw_factors("low", 5, 2, paths=PATHS[1:])}
    merged = merge(mixed, "linear", names=list(mixed), layers="all")
    assert list(merged.parts) == [PATHS[0]] and list(merged.factors) == [PATHS[1]]


def test_without_names_sparse_changes_are_left_out_unless_all_have_them(experts):
    assert merge(experts, "linear").card.parents == ("a", "b", "c")
    mixed = {**experts, "low": draw_factors("low", 5, 2), "lower": draw_factors("lower", 6, 3)}
    with pytest.warns(
        UserWarning, match="merging uses experts of low-rank .* leaves out 3 others, such as 'a'"
    ):
        assert merge(mixed, "linear").card.parents == ("low", "lower")


def test_a_plan_reads_no_values(experts):
    plan = plan_merge(experts, make_recipe(list(experts), "linear"))
    assert (plan.space, plan.names, plan.expert_bytes) == ("entries", ("a", "b", "c"), 2 * 128 * 20)
    assert [(layer.path, layer.rank) for layer in plan.layers] == [(path, 4) for path in PATHS]
    assert merge(experts, "linear").card.provenance["truncation_error"] == dict.fromkeys(PATHS, 0.0)


def test_layers_that_differ_are_chosen_or_refused(experts):
    experts["d"] = draw("d", 3, paths=PATHS[:1])
    with pytest.raises(IncompatibleExpert, match="found 1 of 2 that all change"):
        merge(experts, "linear")
    assert merge(experts, "linear", layers="common").paths == [PATHS[0]]
    assert merge(experts, "linear", layers="all").paths == list(PATHS)


def test_what_is_not_exact_is_refused(experts):
    with pytest.raises(IncompatibleExpert, match="sparse changes can be merged by linear, cat"):
        merge(experts, "ties")
    ia3 = Expert("x", "org/base", {}, parts={PATHS[0]: (Ia3Part(torch.ones(20), False),)})
    with pytest.raises(IncompatibleExpert, match="has IA3 scales"):
        merge({"x": ia3}, "linear")


def test_copies_of_base_weights_are_left_out_with_a_warning():
    pair = Factors(torch.ones(1, 12), torch.ones(20, 1))
    words = {"model.embed_tokens": (WholePart(weight=torch.ones(9, 12), is_copy=True),)}
    experts = {name: Expert(name, "org/base", {PATHS[0]: pair}, parts=words) for name in ("one", "two")}
    with pytest.warns(UserWarning, match=r"'one' \(and 1 more such expert\) has weights that PEFT copied"):
        assert merge(experts, "linear").parts == {}
