from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.methods.nuslerp import NuslerpConfig, merge_nuslerp
from lorary.transforms.merging.methods.slerp import SlerpConfig, merge_slerp


def dense_nuslerp(d, t, dim):
    one, two = d
    product, norms = (
        (one * two).sum(dim, keepdim=True),
        one.norm(dim=dim, keepdim=True) * two.norm(dim=dim, keepdim=True),
    )
    angle = (product / norms).clamp(-1, 1).arccos()
    return (((1 - t) * angle).sin() * one + (t * angle).sin() * two) / angle.sin()


@pytest.mark.parametrize(
    ("options", "dim"),
    [
        ({}, (0, 1)),
        ({"flatten": False}, 1),
        ({"flatten": False, "row_wise": True}, 0),
        ({"row_wise": True}, (0, 1)),
    ],
)
@pytest.mark.parametrize("weights", [(1.0, 3.0), (0.5, 0.5), (2.0, -0.5)])
def test_the_arc_equals_the_dense_one(make_layer, deltas, dense, options, dim, weights):
    layer = make_layer(ranks=(3, 5), weights=weights)
    expected = dense_nuslerp(deltas(layer), weights[1] / sum(weights), dim)
    torch.testing.assert_close(dense(merge_nuslerp(layer, NuslerpConfig(**options))), expected)


def test_it_is_slerp_where_the_layer_is_one_vector(make_layer, dense):
    layer = make_layer(ranks=(3, 5), weights=(0.7, 0.3))
    expected = dense(merge_slerp(layer, SlerpConfig(t=0.3)))
    torch.testing.assert_close(dense(merge_nuslerp(layer, NuslerpConfig())), expected)


def test_weights_that_cancel_count_as_equal(make_layer, dense):
    ends = [make_layer(ranks=(3, 5), weights=weights) for weights in [(1.0, -1.0), (1.0, 1.0)]]
    one, other = (dense(merge_nuslerp(layer, NuslerpConfig())) for layer in ends)
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("flatten", [True, False])
@pytest.mark.parametrize("factor", [2.5, 0.0])
def test_without_an_arc_the_straight_line_is_taken(make_layer, deltas, dense, factor, flatten):
    layer = make_layer(ranks=(3, 3), weights=(0.7, 0.3))
    (a, b), _ = layer.pairs
    layer = replace(layer, pairs=(Factors(a, b), Factors(a, factor * b)))
    merged = merge_nuslerp(layer, NuslerpConfig(flatten=flatten))
    torch.testing.assert_close(dense(merged), (0.7 + 0.3 * factor) * deltas(layer)[0])
