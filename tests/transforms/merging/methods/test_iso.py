import pytest
import torch

from lorary.transforms.merging.methods.iso import IsoConfig, merge_iso


def dense_iso(total, rank, count=None):
    u, s, vh = torch.linalg.svd(total)
    count = rank if count is None else count
    return s[:count].mean() * u[:, :count] @ vh[:count]


def test_the_merge_equals_the_dense_one(layer, deltas, dense):
    total = (deltas(layer) / 3).sum(0)
    rank = int(torch.linalg.matrix_rank(total))
    torch.testing.assert_close(dense(merge_iso(layer, IsoConfig(scale=2.0))), 2 * dense_iso(total, rank))


def test_the_mean_may_be_over_what_the_rank_keeps(make_layer, deltas, dense):
    layer = make_layer(rank=3)
    total = (deltas(layer) / 3).sum(0)
    torch.testing.assert_close(dense(merge_iso(layer, IsoConfig(over="kept"))), dense_iso(total, 8, 3))


def test_directions_come_in_the_order_of_the_sum(make_layer, deltas):
    layer = make_layer()
    a, b, is_sorted = merge_iso(layer, IsoConfig())
    s = torch.linalg.svdvals((deltas(layer) / 3).sum(0))
    strength = (b.mT @ (deltas(layer) / 3).sum(0) @ a.mT).diagonal() / (b.norm(dim=0) * a.norm(dim=1))
    torch.testing.assert_close(strength, s[: len(strength)])
    assert is_sorted


def test_experts_that_cancel_give_nothing(make_layer, dense):
    layer = make_layer(ranks=(2,), weights=(0.0,))
    assert not dense(merge_iso(layer, IsoConfig())).any()


def test_another_mean_is_refused():
    with pytest.raises(ValueError, match="over must be 'all' or 'kept', found 'some'"):
        IsoConfig(over="some")
