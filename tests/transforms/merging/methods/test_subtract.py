from dataclasses import replace

import torch

from lorary.transforms.merging.methods.subtract import SubtractConfig, merge_subtract


def test_the_others_are_taken_from_the_first(make_layer, deltas, dense):
    layer = make_layer(weights=(1.0, 1.0, 0.5))
    d = deltas(layer)
    change = merge_subtract(layer, SubtractConfig(scale=0.4))
    torch.testing.assert_close(dense(change), d[0] - 0.4 * (d[1] + 0.5 * d[2]))


def test_an_expert_less_itself_is_nothing(make_layer, dense):
    layer = make_layer(ranks=(3, 3), weights=(1.0, 1.0))
    same = replace(layer, pairs=(layer.pairs[0],) * 2)
    assert dense(merge_subtract(same, SubtractConfig())).abs().max() < 1e-12
