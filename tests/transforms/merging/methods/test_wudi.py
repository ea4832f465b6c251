from dataclasses import replace

import pytest
import torch

from lorary.transforms.merging.methods.wudi import WudiConfig, merge_wudi


def dense_loss(merged, d, weights):
    shares = torch.tensor(weights) / d.square().sum((1, 2))
    return (shares * ((merged - d) @ d.mT).square().sum((1, 2))).sum()


def dense_wudi(d, weights):
    shares = (torch.tensor(weights) / d.square().sum((1, 2)))[:, None, None]
    grams = d.mT @ d
    return (shares * d @ grams).sum(0) @ torch.linalg.pinv(
        (shares * grams).sum(0), rtol=1e-10, hermitian=True
    )


@pytest.mark.parametrize("shape", [(12, 12), (20, 12), (12, 20), (7, 30), (6, 5)])
def test_the_closed_form_equals_the_dense_one(make_layer, deltas, dense, shape):
    layer = make_layer(shape, ranks=(3, 1, 3), weights=(1.0, 2.0, 0.5))
    torch.testing.assert_close(
        dense(merge_wudi(layer, WudiConfig())), dense_wudi(deltas(layer), layer.weights), rtol=1e-5, atol=1e-6
    )


def test_nothing_nearby_loses_less(make_layer, deltas, dense):
    layer = make_layer((6, 5), weights=(1.0, 1.0, 1.0))
    d, merged = deltas(layer), dense(merge_wudi(layer, WudiConfig()))
    best = dense_loss(merged, d, layer.weights)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        step = 1e-3 * torch.randn(merged.shape, generator=generator, dtype=torch.float64)
        assert dense_loss(merged + step, d, layer.weights) >= best


def test_experts_with_inputs_of_their_own_do_not_interfere(make_layer, deltas, dense):
    layer = make_layer((20, 30), ranks=(3, 2), weights=(1.0, 1.0))
    merged = dense(merge_wudi(layer, WudiConfig()))
    for (a, _), d in zip(layer.pairs, deltas(layer), strict=True):
        torch.testing.assert_close(merged @ a.mT, d @ a.mT)


def test_the_paper_steps_equal_autograd_on_the_dense_loss(make_layer, deltas):
    layer = make_layer(weights=(1.0, 1.0, 0.5))
    d = deltas(layer)
    merged = torch.nn.Parameter(d.sum(0))
    optimizer = torch.optim.Adam([merged], lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        dense_loss(merged, d, layer.weights).backward()
        optimizer.step()
    found = merge_wudi(layer, WudiConfig(solver="adam", num_steps=20, learning_rate=1e-3))
    torch.testing.assert_close(found, merged.detach(), rtol=1e-5, atol=1e-6)
    assert dense_loss(found, d, layer.weights) < dense_loss(d.sum(0), d, layer.weights)


@pytest.mark.parametrize("solver", ["closed", "adam"])
def test_only_zero_experts_give_nothing(make_layer, dense, solver):
    layer = make_layer(ranks=(2, 2), weights=(1.0, 1.0))
    pairs = tuple(pair._replace(b=torch.zeros_like(pair.b)) for pair in layer.pairs)
    assert not dense(merge_wudi(replace(layer, pairs=pairs), WudiConfig(solver=solver))).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "sgd"}, "solver must be 'closed' or 'adam', found 'sgd'"),
        (
            {"num_steps": 0, "learning_rate": -1.0},
            "num_steps must .*; learning_rate must be positive, found -1",
        ),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WudiConfig(**options)
