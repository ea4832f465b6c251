from math import log, sqrt

import pytest
import torch
from torch.nn.functional import normalize

from lorary.routing import CalibratedConfig, EnergyRouter, WhitenedRouter, log_lengths, whiten_prototypes
from lorary.routing import whitened_scores as score_whitened
from lorary.routing.calibrated import average_layers
from lorary.routing.spectr import find_norm_roots


@pytest.fixture
def generic(draw):
    """Generic inputs of a layer, some features far wider than others and off centre, ``[50, 16]``."""
    return draw(50, 16) * torch.linspace(0.1, 5, 16) + torch.linspace(-3, 8, 16)


def measure(inputs):
    """Mean and covariance, in float64."""
    wide = inputs.double()
    centred = wide - wide.mean(0)
    return wide.mean(0), centred.T @ centred / len(wide)


def score_slowly(tokens, prototype, generic, ridge):
    """The formula as it reads: explicit inverse, one token after the other."""
    mean, covariance = measure(generic)
    inverse = torch.linalg.inv(covariance + ridge * covariance.diagonal().mean() * torch.eye(len(mean)))
    direction = inverse @ prototype.double()
    projected = sum(float((token.double() - mean) @ direction) for token in tokens) / len(tokens)
    return abs(projected) / sqrt(float(direction @ covariance @ direction))


@pytest.mark.parametrize("ridge", [0.01, 0.1, 3.0])
def test_whitened_scores_are_those_of_the_formula(draw, prototypes, generic, ridge):
    requests = [draw(count, 16) + generic.mean(0) for count in (1, 4, 9)]
    directions, offsets = whiten_prototypes(prototypes, *measure(generic), ridge)
    found = score_whitened(torch.stack([tokens.mean(0) for tokens in requests]), directions, offsets)
    expected = [[score_slowly(tokens, v, generic, ridge) for v in prototypes] for tokens in requests]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_generic_inputs_score_one_on_average(prototypes, generic):
    directions, offsets = whiten_prototypes(prototypes, *measure(generic), 0.1)
    scores = score_whitened(generic, directions, offsets)
    torch.testing.assert_close(scores.square().mean(0), torch.ones(6), atol=1e-4, rtol=1e-4)


def test_neither_signs_nor_lengths_of_prototypes_matter(draw, prototypes, generic):
    x = draw(5, 16)
    expected = score_whitened(x, *whiten_prototypes(prototypes, *measure(generic), 0.1))
    found = score_whitened(x, *whiten_prototypes(-3 * prototypes, *measure(generic), 0.1))
    torch.testing.assert_close(found, expected)


def test_with_a_great_ridge_a_direction_is_its_prototype(prototypes, generic):
    directions, _ = whiten_prototypes(prototypes, *measure(generic), 1e9)
    torch.testing.assert_close(normalize(directions, dim=-1), prototypes, atol=1e-5, rtol=1e-5)


def test_a_missing_prototype_or_inputs_that_never_differ_have_no_direction(prototypes, generic):
    prototypes[2] = 0
    directions, offsets = whiten_prototypes(prototypes, *measure(generic), 0.1)
    assert not directions[2].any() and not offsets[2].any() and directions[:2].any(1).all()
    directions, offsets = whiten_prototypes(prototypes, *measure(torch.ones(5, 16)), 0.1)
    assert not directions.any() and not offsets.any()


def test_log_lengths_are_those_of_dense_experts(draw):
    x, a, b = draw(7, 16), draw(4, 3, 16), draw(4, 10, 3)
    found = log_lengths(x, a, find_norm_roots(b))
    expected = [
        [log(float((b[e].double() @ a[e].double() @ token.double()).norm())) for e in range(4)] for token in x
    ]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def test_the_log_length_of_nothing_is_finite(draw):
    assert log_lengths(draw(3, 16), torch.zeros(2, 3, 16), torch.zeros(2, 3, 3)).isfinite().all()


def test_an_expert_is_averaged_over_the_layers_that_it_changes():
    scores = {"first": torch.tensor([[1.0, 2.0, 9.0]]), "second": torch.tensor([[3.0, 9.0, 9.0]])}
    has = {"first": torch.tensor([True, True, False]), "second": torch.tensor([True, False, False])}
    assert average_layers(scores, has).tolist() == [[2.0, 2.0, 0.0]]


def test_energy_is_the_mean_log_ratio_to_generic_text(draw):
    a, b = {"one": draw(3, 2, 16), "two": draw(3, 2, 12)}, {"one": draw(3, 5, 2), "two": draw(3, 5, 2)}
    generic = {"one": draw(40, 16), "two": draw(40, 12)}
    prompt = {"one": 2 * draw(6, 16), "two": draw(6, 12)}

    def mean_log_length(x, path, e):
        return sum(
            log(float((b[path][e].double() @ (a[path][e].double() @ t.double())).norm())) for t in x
        ) / len(x)

    expected = torch.tensor(
        [
            sum(
                mean_log_length(prompt[path], path, e) - mean_log_length(generic[path], path, e) for path in a
            )
            / 2
            for e in range(3)
        ]
    )
    roots = {path: find_norm_roots(rows) for path, rows in b.items()}
    means = {path: log_lengths(x, a[path], roots[path]).mean(0) for path, x in generic.items()}
    router = EnergyRouter(a, b, means, top_k=3)
    averages = {path: router.describe(path, x).mean(0, keepdim=True) for path, x in prompt.items()}
    indices, weights = router.choose(averages)
    assert indices[0].tolist() == expected.argsort(descending=True).tolist()
    torch.testing.assert_close(weights[0], torch.softmax(expected, 0)[indices[0]], atol=1e-4, rtol=1e-4)


def test_energy_does_not_prefer_the_strong(draw):
    """The reason for it: raw lengths of different experts do not compare."""
    a, b, generic, x = draw(1, 2, 16), draw(1, 5, 2), draw(400, 16), draw(300, 16)
    twins_a, twins_b = a.repeat(2, 1, 1), torch.cat([b, 10 * b])
    means = {"one": log_lengths(generic, twins_a, find_norm_roots(twins_b)).mean(0)}
    router = EnergyRouter({"one": twins_a}, {"one": twins_b}, means, top_k=2)
    _, weights = router.choose({"one": router.describe("one", x).mean(0, keepdim=True)})
    torch.testing.assert_close(weights, torch.full((1, 2), 0.5), atol=1e-3, rtol=0)


def test_whitened_routing_averages_the_scores_of_layers(draw):
    directions, offsets = {"one": draw(4, 16), "two": draw(4, 12)}, {"one": draw(4), "two": draw(4)}
    averages = {"one": draw(5, 16), "two": draw(5, 12)}
    expected = sum(score_whitened(averages[path], directions[path], offsets[path]) for path in averages) / 2
    indices, weights = WhitenedRouter(directions, offsets, top_k=4).choose(averages)
    torch.testing.assert_close(weights, torch.softmax(expected, 1).gather(1, indices))


def test_generic_texts_are_kept_as_they_were_given():
    texts = ["one text", "another"]
    config = CalibratedConfig(generic=texts)
    texts.append("late")
    assert config.generic == ("one text", "another")
    assert hash(config) == hash(CalibratedConfig(generic=("one text", "another")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "raw"}, "score must be one of whitened, energy, found 'raw'"),
        ({"ridge": 0.0}, "ridge must be above 0, found 0.0"),
        ({"ridge": float("inf")}, "ridge must be above 0, found inf"),
        ({"generic": "a text"}, "generic must be a list of texts, none of them empty"),
        ({"generic": ["fine", ""]}, "generic must be a list of texts, none of them empty"),
        ({"generic": []}, "generic must hold at least one text"),
        ({"score": "raw", "ridge": -1.0, "top_k": 0}, "top_k .*; score .*; ridge "),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CalibratedConfig(**options)
