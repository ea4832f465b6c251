from dataclasses import replace

import pytest
import torch

from lorary.transforms.merging.methods.regmean import RegmeanConfig, merge_regmean


@pytest.fixture
def draw_inputs():
    """Draw the inputs ``[N, I]`` that each of three experts saw."""

    def draw(width, count, seed=5):
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(3)]

    return draw


def with_grams(layer, inputs):
    return replace(layer, grams=torch.stack([x.mT @ x for x in inputs]))


def test_the_merge_solves_the_least_squares_problem(layer, deltas, dense, draw_inputs):
    inputs = draw_inputs(layer.shape[1], 60)
    merged = dense(merge_regmean(with_grams(layer, inputs), RegmeanConfig(off_diagonal=1.0)))
    x = torch.cat(inputs)
    y = torch.cat([x @ d.mT for x, d in zip(inputs, deltas(layer), strict=True)])
    torch.testing.assert_close(merged, torch.linalg.lstsq(x, y).solution.mT)


def test_few_inputs_give_the_solution_of_smallest_norm(make_layer, deltas, dense, draw_inputs):
    layer, inputs = make_layer(), draw_inputs(12, 2)
    merged = dense(merge_regmean(with_grams(layer, inputs), RegmeanConfig(off_diagonal=1.0)))
    y = torch.cat([x @ d.mT for x, d in zip(inputs, deltas(layer), strict=True)])
    torch.testing.assert_close(merged, (torch.linalg.pinv(torch.cat(inputs)) @ y).mT)


def test_off_the_diagonal_grams_are_shrunk_and_weights_count(make_layer, deltas, dense, draw_inputs):
    layer = with_grams(make_layer(weights=(1.0, 0.5, 2.0)), draw_inputs(12, 5))
    grams = (
        layer.grams
        * (0.9 + 0.1 * torch.eye(12, dtype=torch.float64))
        * torch.tensor([1.0, 0.5, 2.0])[:, None, None]
    )
    expected = (deltas(layer) @ grams).sum(0) @ torch.linalg.inv(grams.sum(0))
    torch.testing.assert_close(dense(merge_regmean(layer, RegmeanConfig())), expected)


def test_given_grams_stay_as_they_are(make_layer, draw_inputs):
    layer = with_grams(make_layer(), draw_inputs(12, 5))
    before = layer.grams.clone()
    merge_regmean(layer, RegmeanConfig())
    assert torch.equal(layer.grams, before)


def test_a_factor_above_one_is_refused():
    with pytest.raises(ValueError, match=r"off_diagonal must be in \[0, 1\], found 1.1"):
        RegmeanConfig(off_diagonal=1.1)
