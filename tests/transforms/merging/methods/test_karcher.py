from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.methods.karcher import KarcherConfig, merge_karcher
from lorary.transforms.merging.methods.slerp import SlerpConfig, merge_slerp


def dense_karcher(d, max_iter, tol=1e-5):
    norms = d.flatten(1).norm(dim=1)
    units = d.flatten(1) / norms[:, None]
    mean = units.mean(0) / units.mean(0).norm()
    for _ in range(max_iter):
        tangent = torch.zeros_like(mean)
        for unit in units:
            angle = (mean @ unit).clamp(-1, 1).arccos()
            if angle >= tol:
                tangent += angle / angle.sin() * (unit - (mean @ unit) * mean) / len(units)
        if tangent.norm() < tol:
            break
        mean = tangent.norm().cos() * mean + tangent.norm().sin() * tangent / tangent.norm()
    return (norms.mean() * mean).view_as(d[0])


@pytest.mark.parametrize("max_iter", [0, 1, 10])
def test_the_merge_equals_the_dense_one(layer, deltas, dense, max_iter):
    merged = merge_karcher(layer, KarcherConfig(max_iter=max_iter))
    torch.testing.assert_close(dense(merged), dense_karcher(deltas(layer), max_iter), rtol=1e-5, atol=1e-7)


def test_of_two_experts_of_one_length_it_is_the_middle_of_the_arc(make_layer, deltas, dense):
    layer = make_layer(ranks=(3, 4))
    lengths = deltas(layer).flatten(1).norm(dim=1)
    pairs = tuple(Factors(a, b / length) for (a, b), length in zip(layer.pairs, lengths, strict=True))
    layer = replace(layer, pairs=pairs)
    torch.testing.assert_close(
        dense(merge_karcher(layer, KarcherConfig())), dense(merge_slerp(layer, SlerpConfig()))
    )


def test_opposite_experts_and_zeros_are_finite(make_layer, dense):
    layer = make_layer(ranks=(3, 3))
    a, b = layer.pairs[0]
    assert (
        dense(merge_karcher(replace(layer, pairs=(Factors(a, b), Factors(a, -b))), KarcherConfig()))
        .isfinite()
        .all()
    )
    assert not dense(merge_karcher(replace(layer, pairs=(Factors(a, 0 * b),) * 2), KarcherConfig())).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iter": -1}, r"max_iter must be in \[0, 10,000\], found -1"),
        ({"max_iter": 10**12}, "max_iter must be in"),
        ({"tol": -1.0}, "tol must not be negative, found -1.0"),
        ({"tol": float("nan")}, "tol must be a finite number, found nan"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        KarcherConfig(**options)
