"""Merging sparse changes: the union of entries, equal to the dense sum; other methods refuse."""

import pytest
import torch

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors, read_peft, write_peft
from lorary.experts.parts.ia3 import Ia3Part
from lorary.experts.parts.sparse import SparsePart
from lorary.experts.parts.whole import WholePart
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
    experts["x"] = Expert("x", "org/base", {PATHS[0]: Factors(torch.ones(1, 12), torch.ones(20, 1))})
    with pytest.raises(IncompatibleExpert, match="needs experts of low-rank factors only, but expert 'a'"):
        merge(experts, "linear")
    ia3 = Expert("x", "org/base", {}, parts={PATHS[0]: (Ia3Part(torch.ones(20), False),)})
    with pytest.raises(IncompatibleExpert, match="has IA3 scales"):
        merge({"x": ia3}, "linear")


def test_copies_of_base_weights_are_left_out_with_a_warning():
    pair = Factors(torch.ones(1, 12), torch.ones(20, 1))
    words = {"model.embed_tokens": (WholePart(weight=torch.ones(9, 12), is_copy=True),)}
    experts = {name: Expert(name, "org/base", {PATHS[0]: pair}, parts=words) for name in ("one", "two")}
    with pytest.warns(UserWarning, match=r"'one' \(and 1 more such expert\) has weights that PEFT copied"):
        assert merge(experts, "linear").parts == {}
