from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from lorary.experts import Factors
from lorary.transforms.merging.methods.model_stock import ModelStockConfig, merge_model_stock


def dense_model_stock(d, filter_wise):
    rows = d if filter_wise else d.flatten(1)
    pairs = list(combinations(range(len(d)), 2))
    cosine = torch.stack([cosine_similarity(rows[one], rows[other], -1) for one, other in pairs]).mean(0)
    share = len(d) * cosine / (1 + (len(d) - 1) * cosine)
    return (share[:, None] if filter_wise else share) * d.mean(0)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_the_merge_equals_the_dense_one(layer, deltas, dense, filter_wise):
    merged = merge_model_stock(layer, ModelStockConfig(filter_wise=filter_wise))
    torch.testing.assert_close(dense(merged), dense_model_stock(deltas(layer), filter_wise))


@pytest.mark.parametrize("filter_wise", [False, True])
def test_equal_experts_return_as_they_are(make_layer, deltas, dense, filter_wise):
    layer = make_layer()
    layer = replace(layer, pairs=(layer.pairs[0],) * 3)
    merged = merge_model_stock(layer, ModelStockConfig(filter_wise=filter_wise))
    torch.testing.assert_close(dense(merged), deltas(layer)[0])


def test_opposite_experts_leave_the_base_model(make_layer, dense):
    layer = make_layer(ranks=(3, 3))
    a, b = layer.pairs[0]
    assert not dense(
        merge_model_stock(replace(layer, pairs=(Factors(a, b), Factors(a, -b))), ModelStockConfig())
    ).any()


def test_experts_of_zeros_give_zeros(make_layer, dense):
    layer = make_layer()
    nothing = replace(layer, pairs=tuple(Factors(a, 0 * b) for a, b in layer.pairs))
    assert not dense(merge_model_stock(nothing, ModelStockConfig())).any()
