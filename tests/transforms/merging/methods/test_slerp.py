import math
from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.methods.slerp import SlerpConfig, merge_slerp


def dense_slerp(d, t):
    one, two = d
    angle = math.acos((one * two).sum() / (one.norm() * two.norm()))
    return (math.sin((1 - t) * angle) * one + math.sin(t * angle) * two) / math.sin(angle)


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_the_arc_equals_the_dense_one(make_layer, deltas, dense, t):
    layer = make_layer(ranks=(3, 5))
    torch.testing.assert_close(dense(merge_slerp(layer, SlerpConfig(t=t))), dense_slerp(deltas(layer), t))


def test_the_ends_are_the_experts(make_layer, deltas, dense):
    layer = make_layer(ranks=(3, 2))
    for t, expected in enumerate(deltas(layer)):
        torch.testing.assert_close(dense(merge_slerp(layer, SlerpConfig(t=float(t)))), expected)


@pytest.mark.parametrize("factor", [1.0, 2.5, -1.0, 0.0])
def test_without_an_arc_the_straight_line_is_taken(make_layer, deltas, dense, factor):
    layer = make_layer(ranks=(3, 3))
    (a, b), _ = layer.pairs
    layer = replace(layer, pairs=(Factors(a, b), Factors(a, factor * b)))
    expected = (0.7 + 0.3 * factor) * deltas(layer)[0]
    torch.testing.assert_close(dense(merge_slerp(layer, SlerpConfig(t=0.3))), expected)


def test_a_place_off_the_arc_is_refused():
    with pytest.raises(ValueError, match=r"t must be in \[0, 1\], found 1.5"):
        SlerpConfig(t=1.5)
