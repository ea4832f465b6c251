import pytest
import torch

from lorary.facts.generic_statistics import (
    count_kept_bytes,
    measure_deviations,
    measure_kept_deviations,
    measure_readings,
)
from lorary.routing.calibrated_router import DeviationMeter

TEXTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [5, 6, 20]]


@pytest.fixture
def tokens(build_tiny_base, model):
    """Text by text what goes into each layer of the bare base model, without the first token, float64."""
    bare = build_tiny_base().model
    seen = {path: [] for path in model.stack.layers}
    for path in seen:
        bare.get_submodule(path).register_forward_pre_hook(
            lambda _, given, path=path: seen[path].append(given[0][0, 1:].double())
        )
    with torch.no_grad():
        for ids in TEXTS:
            bare(input_ids=torch.tensor([ids]))
    return seen


@pytest.fixture
def meter(model):
    generator = torch.Generator().manual_seed(3)
    a = {path: layer.a.detach() for path, layer in model.stack.layers.items()}
    sizes = next(iter(a.values())).shape[:2]
    whiteners = {path: torch.randn(*sizes, sizes[1], generator=generator) for path in a}
    offsets = {path: torch.randn(*sizes, generator=generator) for path in a}
    return DeviationMeter(a, whiteners, offsets, last_share=0.3)


@pytest.mark.parametrize("tokens_per_pass", [1, 8, 1000])
def test_moments_are_those_of_all_tokens_but_the_first(model, tokens, tokens_per_pass):
    a = {path: layer.a.detach() for path, layer in model.stack.layers.items()}
    found = measure_readings(model.stack, a, TEXTS, tokens_per_pass=tokens_per_pass)
    assert set(found) == set(a)
    for path, (mean, covariance) in found.items():
        for index, rows in enumerate(a[path].double()):
            readings = torch.cat(tokens[path]) @ rows.T
            torch.testing.assert_close(mean[index], readings.mean(0), atol=1e-5, rtol=1e-4)
            expected = torch.cov(readings.T, correction=0)
            torch.testing.assert_close(covariance[index], expected, atol=1e-5, rtol=1e-4)


def test_only_layers_in_question_are_measured(model):
    _, _, path, *_ = model.stack.layers
    assert list(measure_readings(model.stack, {path: model.stack.layers[path].a.detach()}, TEXTS)) == [path]


@pytest.mark.parametrize("tokens_per_pass", [1, 1000])
def test_deviations_are_averaged_over_tokens_and_then_over_texts(model, meter, tokens, tokens_per_pass):
    found = measure_deviations(model.stack, meter, TEXTS, tokens_per_pass=tokens_per_pass)
    for path, (mean, deviation) in found.items():
        rows = [meter.describe(path, x.float()) for x in tokens[path]]
        averages = torch.stack([0.7 * row.mean(0) + 0.3 * row[-1] for row in rows])
        torch.testing.assert_close(mean, averages.mean(0), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(deviation, averages.std(0, correction=0), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("tokens_per_pass", [1, 8, 1000])
def test_kept_readings_give_the_same_deviations(model, meter, tokens_per_pass):
    kept = []
    measure_readings(model.stack, meter.a, TEXTS, tokens_per_pass=tokens_per_pass, keep=kept)
    held = sum(rows.nbytes for each in kept for rows in each.readings.values())
    assert held == count_kept_bytes(meter.a, TEXTS, model.base.model.dtype)
    expected = measure_deviations(model.stack, meter, TEXTS, tokens_per_pass=tokens_per_pass)
    for path, found in measure_kept_deviations(meter, kept).items():
        torch.testing.assert_close(found, expected[path], atol=1e-4, rtol=1e-4)


def test_measuring_leaves_the_routers_alone(model):
    before = [layer.router for layer in model.stack.layers.values()]
    measure_readings(model.stack, {p: layer.a.detach() for p, layer in model.stack.layers.items()}, TEXTS)
    assert [layer.router for layer in model.stack.layers.values()] == before
    assert model.stack.context.active is model.stack.context.default
