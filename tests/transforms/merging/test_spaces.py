import pytest
import torch

from lorary.lowrank.pairs import pad_ranks
from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear
from lorary.transforms.merging.methods.task_arithmetic import TaskArithmeticConfig, merge_task_arithmetic
from lorary.transforms.merging.methods.ties import TiesConfig, merge_ties
from lorary.transforms.merging.spaces import factor_dense, form_dense, merge_in


def test_factors_apart_are_summed_apart(make_layer, dense):
    layer = make_layer(weights=(0.5, 0.3, 0.2))
    a, b = pad_ranks(layer.pairs)
    w = torch.tensor(layer.weights).double()[:, None, None]
    merged = merge_in("factors", merge_linear, layer, LinearConfig())
    torch.testing.assert_close(dense(merged), (w * b).sum(0) @ (w * a).sum(0))


def test_factors_apart_go_through_ties_apart(make_layer, dense_agree, dense_trim):
    layer = make_layer(ranks=(3, 3, 3))
    a, b = pad_ranks(layer.pairs)
    found = merge_in("factors", merge_ties, layer, TiesConfig(density=0.4))
    for factor, expected in ((found.a, a), (found.b, b)):
        torch.testing.assert_close(factor, dense_agree(dense_trim(expected, [0.4] * 3), layer.weights))


def test_a_scale_counts_once_for_factors_apart(make_layer, dense):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    (a, b) = layer.pairs[0]
    merged = merge_in("factors", merge_task_arithmetic, layer, TaskArithmeticConfig(scale=0.3))
    torch.testing.assert_close(dense(merged), 0.3 * b @ a)


@pytest.mark.parametrize("space", ["delta", "core"])
def test_the_sum_is_the_same_in_cores(make_layer, deltas, dense, space):
    layer = make_layer(weights=(0.5, 0.3, 0.2))
    w = torch.tensor(layer.weights).double()[:, None, None]
    merged = merge_in(space, merge_linear, layer, LinearConfig())
    torch.testing.assert_close(dense(merged), (w * deltas(layer)).sum(0))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_a_dense_change_becomes_factors_of_its_narrow_side(shape):
    d = torch.arange(float(shape[0] * shape[1])).reshape(shape)
    change = factor_dense(d)
    assert torch.equal(form_dense(change), d) and torch.equal(form_dense(d), d)
    assert len(change.a) == min(shape)
