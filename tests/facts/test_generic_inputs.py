import pytest
import torch

from lorary.facts import generic_inputs
from lorary.facts.generic_inputs import (
    ALGORITHM,
    find_generic_inputs,
    read_generic_inputs,
    round_inputs,
)
from lorary.facts.token_sample import TokenSample

TEXTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [5, 6, 20]]


@pytest.fixture
def sample():
    return TokenSample([len(ids) for ids in TEXTS], 2)


@pytest.fixture
def expected(build_tiny_base, model, sample):
    """The inputs of each layer of the bare base model, each text alone, at the sampled places."""
    bare = build_tiny_base().model
    seen = {path: [] for path in model.stack.layers}
    for path in seen:
        bare.get_submodule(path).register_forward_pre_hook(
            lambda _, given, path=path: seen[path].append(given[0][0])
        )
    with torch.no_grad():
        for ids in TEXTS:
            bare(input_ids=torch.tensor([ids]))
    return {
        path: torch.cat([x[own] for x, own in zip(rows, sample.places, strict=True)])
        for path, rows in seen.items()
    }


def restore(inputs):
    return inputs.difference(torch.device("cpu")) + inputs.center


@pytest.mark.parametrize("tokens_per_pass", [1, 8, 1000])
def test_inputs_are_those_of_the_base_alone_in_the_order_of_the_texts(
    model, sample, expected, tokens_per_pass
):
    paths = list(model.stack.layers)
    found = read_generic_inputs(model.stack, paths, TEXTS, sample, tokens_per_pass=tokens_per_pass)
    assert list(found) == paths
    for path, inputs in found.items():
        torch.testing.assert_close(restore(inputs), expected[path], atol=2e-3, rtol=1e-3)
    assert model.stack.context.active is model.stack.context.default


def test_the_mean_does_not_cost_digits_and_large_numbers_fit():
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(50, 8, generator=generator)
    for x in (small + 1000, small * 1e6, small * 1e-6):
        rows = (x - x.mean(0)).double()
        found = round_inputs(x).difference(torch.device("cpu")).double()
        assert (found - rows).norm() < 5e-4 * rows.norm()
    alike = round_inputs(torch.ones(3, 8))
    assert not alike.rows.any() and torch.equal(alike.center, torch.ones(8)) and alike.scale > 0


def find(model, sample, paths=None, **options):
    wanted = list(model.stack.layers) if paths is None else paths
    return find_generic_inputs(model.stack, wanted, TEXTS, sample, {"texts": 1}, "0" * 24, **options)


def test_the_base_reads_once_and_further_layers_only_are_read_later(model, sample, cache, monkeypatch):
    asked = []
    read = generic_inputs.read_generic_inputs

    def note(stack, paths, *given, **options):
        asked.append(list(paths))
        return read(stack, paths, *given, **options)

    monkeypatch.setattr(generic_inputs, "read_generic_inputs", note)
    paths = list(model.stack.layers)
    steps = []
    first = find(model, sample, paths[:2], on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 1)]
    again = find(model, sample)
    assert asked == [paths[:2], paths[2:]]
    assert all(torch.equal(first[path].rows, again[path].rows) for path in paths[:2])
    for file in cache.glob(f"artifacts/{ALGORITHM}/*"):
        file.write_bytes(file.read_bytes()[:-1])
    find(model, sample)
    assert asked[2:] == [paths]


def test_inputs_that_would_fill_the_disk_are_not_stored(model, sample, cache, monkeypatch):
    monkeypatch.setattr(generic_inputs, "MOST_STORED", 10)
    find(model, sample)
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("name", ["rows", "center", "scale"])
def test_stored_inputs_of_another_form_are_read_anew(model, sample, monkeypatch, name):
    path = next(iter(model.stack.layers))
    good = find(model, sample, [path])[path]._asdict()
    for bad in (good | {name: good[name][..., :-1]}, good | {name: good[name].double()}):
        monkeypatch.setattr(generic_inputs.Cache, "load", lambda *_, bad=bad: bad)
        found = find(model, sample, [path])[path]._asdict()
        assert all(torch.equal(found[key], good[key]) for key in good)
