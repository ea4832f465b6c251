import torch

from lorary.transforms.merging.methods.cat import merge_cat
from lorary.transforms.merging.methods.linear import LinearConfig


def test_the_sum_is_exact_and_of_all_ranks_together(layer, deltas, dense):
    change = merge_cat(layer, LinearConfig())
    assert change.a.shape[0] == sum(pair.rank for pair in layer.pairs)
    torch.testing.assert_close(dense(change), (deltas(layer) / 3).sum(0))
