from dataclasses import replace
from math import ceil

import pytest
import torch

from lorary.routing import CalibratedConfig
from lorary.routing.calibrated import (
    SMALLEST_DEVIATION,
    average_layers,
    compute_readings,
    log_deviations,
    whiten_readings,
)
from lorary.routing.calibrated_router import (
    CalibratedRouter,
    DeviationMeter,
    build_calibrated,
)
from lorary.routing.spectr import compute_norm_roots


@pytest.fixture
def generic(draw):
    """Generic inputs of a layer, some features far wider than others and off centre, ``[50, 16]``."""
    return draw(50, 16) * torch.linspace(0.1, 5, 16) + torch.linspace(-3, 8, 16)


def measure(readings):
    """Mean ``[E, R]`` and covariance ``[E, R, R]`` of readings ``[T, E, R]``, in float64."""
    mean = readings.double().mean(0)
    centred = (readings.double() - mean).transpose(0, 1)
    return mean, centred.mT @ centred / len(readings)


def calibrate(a, b, generic, ridge):
    return whiten_readings(compute_norm_roots(b), *measure(torch.einsum("eri,ti->ter", a, generic)), ridge)


def deviate_slowly(x, a, b, generic, ridge):
    """The formula as it reads, on the dense weight change: explicit pseudo-inverse, in float64."""
    dense = b.double() @ a.double()
    centred = (generic.double() - generic.double().mean(0)) @ dense.T
    covariance = centred.T @ centred / len(generic)
    metric = torch.linalg.inv(covariance + ridge * covariance.trace() * torch.eye(len(dense)))
    added = dense @ (x.double() - generic.double().mean(0))
    return float(torch.log(added @ metric @ added) / 2)


@pytest.mark.parametrize("ridge", [0.001, 0.01, 3.0])
def test_deviations_are_those_of_the_formula(draw, generic, ridge):
    x, a, b = draw(7, 16), draw(4, 3, 16), draw(4, 10, 3)
    found = log_deviations(compute_readings(x, a), *calibrate(a, b, generic, ridge))
    expected = [[deviate_slowly(token, a[e], b[e], generic, ridge) for e in range(4)] for token in x]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-3, rtol=1e-3)


def test_neither_strength_nor_factorisation_nor_padding_matters(draw, generic):
    x, a, b = draw(5, 16), draw(2, 3, 16), draw(2, 10, 3)
    expected = log_deviations(compute_readings(x, a), *calibrate(a, b, generic, 0.01))
    other = draw(3, 3)
    others = torch.linalg.inv(other) @ a, 7 * b @ other
    torch.testing.assert_close(
        log_deviations(compute_readings(x, others[0]), *calibrate(*others, generic, 0.01)),
        expected,
        atol=1e-3,
        rtol=1e-3,
    )
    padded = torch.cat([a, torch.zeros(2, 2, 16)], 1), torch.cat([b, torch.zeros(2, 10, 2)], 2)
    torch.testing.assert_close(
        log_deviations(compute_readings(x, padded[0]), *calibrate(*padded, generic, 0.01)),
        expected,
        atol=1e-4,
        rtol=1e-4,
    )


def test_with_a_great_ridge_only_the_length_of_what_is_added_counts(draw, generic):
    x, a, b = draw(9, 16), draw(1, 3, 16), draw(1, 10, 3)
    found = log_deviations(compute_readings(x, a), *calibrate(a, b, generic, 1e8))[:, 0]
    lengths = ((x - generic.mean(0)) @ (b[0] @ a[0]).T).norm(dim=-1).log()
    torch.testing.assert_close(found - found.mean(), lengths - lengths.mean(), atol=1e-3, rtol=1e-3)


def test_an_expert_that_adds_nothing_or_always_the_same_has_no_reader(draw, generic):
    a, b = draw(3, 2, 16), draw(3, 5, 2)
    b[1] = 0
    whiteners, offsets = calibrate(a, b, generic, 0.01)
    assert not whiteners[1].any() and not offsets[1].any() and whiteners[0].any() and whiteners[2].any()
    whiteners, offsets = calibrate(a, b, torch.zeros(5, 16), 0.01)
    assert not whiteners.any() and not offsets.any()
    assert log_deviations(compute_readings(draw(3, 16), a), whiteners, offsets).isfinite().all()


def test_an_expert_is_averaged_over_the_layers_that_it_changes():
    scores = {"first": torch.tensor([[1.0, 2.0, 9.0]]), "second": torch.tensor([[3.0, 9.0, 9.0]])}
    has = {"first": torch.tensor([True, True, False]), "second": torch.tensor([True, False, False])}
    assert average_layers(scores, has).tolist() == [[2.0, 2.0, 0.0]]


def test_scores_are_in_units_of_generic_requests_and_averaged_over_layers(draw):
    paths = ("one", "two")
    a = {path: draw(3, 2, 16) for path in paths}
    whiteners, offsets = {path: draw(3, 2, 2) for path in paths}, {path: draw(3, 2) for path in paths}
    generic = {path: (draw(3), draw(3).abs() + 0.5) for path in paths}
    averages = {path: draw(5, 3) for path in paths}
    expected = sum((averages[path] - generic[path][0]) / generic[path][1] for path in paths) / 2
    router = CalibratedRouter(a, whiteners, offsets, generic, top_k=3, temperature=0.7)
    indices, weights = router.choose(averages)
    torch.testing.assert_close(weights, torch.softmax(expected / 0.7, 1).gather(1, indices))


def test_no_score_is_divided_by_next_to_nothing(draw):
    a, whiteners, offsets = {"one": draw(2, 2, 16)}, {"one": draw(2, 2, 2)}, {"one": draw(2, 2)}
    generic = {"one": (torch.zeros(2), torch.zeros(2))}
    router = CalibratedRouter(a, whiteners, offsets, generic, top_k=2)
    _, weights = router.choose({"one": torch.tensor([[0.02, 0.01]])})
    torch.testing.assert_close(weights, torch.softmax(torch.tensor([[0.02, 0.01]]) / SMALLEST_DEVIATION, 1))


def test_what_no_expert_stands_out_for_is_shared_by_all(draw):
    a, whiteners, offsets = {"one": draw(5, 2, 16)}, {"one": draw(5, 2, 2)}, {"one": draw(5, 2)}
    generic = {"one": (torch.zeros(5), torch.ones(5))}
    router = CalibratedRouter(
        a, whiteners, offsets, generic, top_k=2, temperature=0.5, margin=4.0, spread=2.0
    )
    sure, half = [0.0, 9.0, 8.0, 1.0, 0.5], [0.0, 1.0, 3.0, 1.0, 1.0]
    indices, weights = router.choose({"one": torch.tensor([sure, half])})
    assert indices.tolist() == [[0, 1, 2, 3, 4]] * 2
    first = torch.softmax(torch.tensor([9.0, 8.0]) / 0.5, 0)
    torch.testing.assert_close(weights[0], torch.tensor([0.0, first[0], first[1], 0.0, 0.0]))
    kept = torch.softmax(torch.tensor([3.0, 1.0]) / 0.5, 0) / 2
    expected = torch.full((5,), 0.5 * 2.0 / 5)
    expected[2] += kept[0]
    expected[1] += kept[1]
    torch.testing.assert_close(weights[1].sort().values, expected.sort().values)
    assert weights[1].sum() == pytest.approx(1.5)


def test_with_equal_scores_all_experts_alike_answer(draw):
    a, whiteners, offsets = {"one": draw(6, 2, 16)}, {"one": draw(6, 2, 2)}, {"one": draw(6, 2)}
    generic = {"one": (torch.zeros(6), torch.ones(6))}
    router = CalibratedRouter(a, whiteners, offsets, generic, top_k=2, margin=0.5, spread=3.0)
    _, weights = router.choose({"one": torch.ones(2, 6)})
    torch.testing.assert_close(weights, torch.full((2, 6), 0.5))


def test_a_router_describes_tokens_as_its_meter_does(draw):
    a, whiteners, offsets = {"one": draw(2, 2, 16)}, {"one": draw(2, 2, 2)}, {"one": draw(2, 2)}
    x = draw(4, 16)
    meter = DeviationMeter(a, whiteners, offsets, last_share=0.5)
    assert torch.equal(
        meter.describe("one", x),
        log_deviations(compute_readings(x, a["one"]), whiteners["one"], offsets["one"]),
    )
    assert (meter.places, meter.last_share, meter.skips_first) == (("one",), 0.5, True)


def test_generic_texts_are_kept_as_they_were_given():
    texts = ["one text", "another"]
    config = CalibratedConfig(generic=texts)
    texts.append("late")
    assert config.generic == ("one text", "another")
    assert hash(config) == hash(CalibratedConfig(generic=("one text", "another")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last_share": 1.5}, "last_share must be in \\[0, 1\\], found 1.5"),
        ({"min_p": 1.5}, "min_p must be in \\[0, 1\\], found 1.5"),
        ({"margin": 0.0}, "margin must be above 0, or None for no margin, found 0.0"),
        ({"spread": -1.0}, "spread must be at least 0, found -1.0"),
        ({"ridge": 0.0}, "ridge must be above 0, found 0.0"),
        ({"ridge": float("inf")}, "ridge must be above 0, found inf"),
        ({"generic": "a text"}, "generic must be a list of texts, none of them empty"),
        ({"generic": ["fine", ""]}, "generic must be a list of texts, none of them empty"),
        ({"generic": ["one"]}, "generic must have at least two texts, found 1"),
        ({"last_share": -1.0, "ridge": -1.0, "top_k": 0}, "top_k .*; last_share .*; ridge "),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CalibratedConfig(**options)


def test_a_fifth_of_the_layers_decides_if_every_start_is_known(make_request_material):
    material = make_request_material(6)
    known = {}
    for path, layer in material.layers.items():
        has_start = torch.ones(layer.num_experts, dtype=torch.bool)
        known[path] = replace(layer, tensors={**layer.tensors, "has_start": has_start})
    partly = dict(known)
    partly[next(reversed(known))] = material.layers[next(reversed(known))]
    num_layers = len(known)
    for layers, options, expected in (
        (material.layers, {}, num_layers),
        (partly, {}, num_layers),
        (known, {}, ceil(num_layers / 5)),
        (known, {"depth": 1.0}, num_layers),
        (material.layers, {"depth": 0.2}, ceil(num_layers / 5)),
    ):
        router = build_calibrated(CalibratedConfig(**options), replace(material, layers=layers))
        assert router.places == tuple(layers)[:expected]
