import pytest
import torch

from lorary.transforms.merging.methods.linear import LinearConfig, merge_linear


def test_the_sum_equals_the_dense_one(layer, deltas, dense):
    expected = (deltas(layer) / 3).sum(0)
    torch.testing.assert_close(dense(merge_linear(layer, LinearConfig())), expected)


def test_negative_and_zero_weights_count_as_they_are(make_layer, deltas, dense):
    layer = make_layer(weights=(2.0, -0.5, 0.0))
    d = deltas(layer)
    torch.testing.assert_close(dense(merge_linear(layer, LinearConfig())), 2 * d[0] - 0.5 * d[1])


def test_normalised_weights_are_divided_by_their_sum(make_layer, deltas, dense):
    layer = make_layer(weights=(1.0, 3.0, 4.0))
    expected = (deltas(layer) * torch.tensor([1.0, 3.0, 4.0])[:, None, None]).sum(0) / 8
    torch.testing.assert_close(dense(merge_linear(layer, LinearConfig(normalize=True))), expected)


def test_one_expert_of_weight_one_keeps_its_factors(make_layer):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    a, b, _ = merge_linear(layer, LinearConfig())
    assert torch.equal(a, layer.pairs[0].a) and torch.equal(b, layer.pairs[0].b)


def test_weights_that_cancel_cannot_be_normalised(make_layer):
    layer = make_layer(ranks=(1, 1), weights=(1.0, -1.0))
    with pytest.raises(ValueError, match=r"must not sum to zero, found \[1.0, -1.0\] in module 'layers.0.q'"):
        merge_linear(layer, LinearConfig(normalize=True))
