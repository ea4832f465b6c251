import pytest
import torch

from lorary.errors import FormatError
from lorary.experts import Expert, Factors
from lorary.transforms.merging.stream import group_layers, stream_layers
from lorary.transforms.merging.survey import survey_experts


@pytest.fixture
def layers(experts):
    return survey_experts(experts, list(experts), "same").layers


@pytest.mark.parametrize("held", [1, 2000, 2**32])
def test_every_layer_comes_once_with_all_experts_factors(experts, layers, monkeypatch, held):
    monkeypatch.setattr("lorary.transforms.merging.stream.HELD_BYTES", held)
    monkeypatch.setattr("lorary.transforms.merging.stream.group_layers.__defaults__", (held,))
    seen = []
    for layer, pairs in stream_layers(experts, list(experts), layers):
        seen.append(layer.path)
        for expert, pair in zip(experts.values(), pairs, strict=True):
            assert torch.equal(pair.a, expert.factors[layer.path].a)
            assert torch.equal(pair.b, expert.factors[layer.path].b)
    assert seen == [layer.path for layer in layers]


def test_experts_are_opened_once_per_round_and_one_at_a_time(experts, layers, monkeypatch):
    opened = []

    class Counting(dict):
        def __getitem__(self, name):
            opened.append(name)
            return super().__getitem__(name)

    monkeypatch.setattr("lorary.transforms.merging.stream.group_layers.__defaults__", (2000,))
    rounds = len(group_layers(layers, 2000))
    list(stream_layers(Counting(experts), list(experts), layers))
    assert 1 < rounds < 4 and opened == list(experts) * rounds


def test_groups_hold_no_more_than_asked_for_but_one_layer_always(layers):
    sizes = [sum(layer.num_bytes for layer in group) for group in group_layers(layers, 2000)]
    assert all(size <= 2000 for size in sizes) and sum(sizes) == sum(layer.num_bytes for layer in layers)
    assert [len(group) for group in group_layers(layers, 1)] == [1, 1, 1, 1]
    assert [len(group) for group in group_layers(layers)] == [4]


def test_missing_layers_are_zeros_and_half_precision_becomes_single(experts, make_expert):
    experts["few"] = make_expert("few", dtype=torch.bfloat16, modules={"model.layers.0.attn.q": (12, 12)})
    layers = survey_experts(experts, ["few", "sql"], "all").layers
    for layer, (few, sql) in stream_layers(experts, ["few", "sql"], layers):
        assert {factor.dtype for factor in (*few, *sql)} == {torch.float32}
        if layer.path != "model.layers.0.attn.q":
            assert few.a.shape == (1, layer.inputs) and not few.a.any() and not few.b.any()


def test_what_is_yielded_is_a_copy(experts, layers):
    before = experts["sql"].factors["model.layers.0.attn.q"].b.clone()
    for _, pairs in stream_layers(experts, ["sql"], layers):
        pairs[0].b.zero_()
    assert torch.equal(experts["sql"].factors["model.layers.0.attn.q"].b, before)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(experts, layers, number):
    path = "model.layers.0.mlp.up"
    bad = experts["sql"].factors[path].b.clone()
    bad[3, 0] = number
    factors = {**experts["sql"].factors, path: Factors(experts["sql"].factors[path].a, bad)}
    experts["sql"] = Expert("sql", "tiny", factors)
    with pytest.raises(FormatError, match=f"expert 'sql' has NaN or infinite values in b of module '{path}'"):
        list(stream_layers(experts, list(experts), layers))
