from dataclasses import replace

import pytest
import torch

from lorary.transforms.merging.methods.tsv import TsvConfig, merge_tsv


def dense_tsv(d, kept):
    parts = [torch.linalg.svd(matrix, full_matrices=False) for matrix in d]
    u = torch.cat([u[:, :kept] for u, _, _ in parts], 1)
    s = torch.cat([s[:kept] for _, s, _ in parts])
    v = torch.cat([vh[:kept].mT for _, _, vh in parts], 1)
    turned = []
    for side in (u, v):
        left, _, right = torch.linalg.svd(side, full_matrices=False)
        turned.append(left @ right)
    return turned[0] @ torch.diag(s) @ turned[1].mT


@pytest.mark.parametrize("kept", [1, 2])
def test_the_merge_equals_the_dense_one(make_layer, deltas, dense, kept):
    layer = make_layer((20, 14), ranks=(3, 2, 4), weights=(1.0, 1.0, 1.0))
    change = merge_tsv(layer, TsvConfig(num_vectors=kept, scale=0.7))
    torch.testing.assert_close(dense(change), 0.7 * dense_tsv(deltas(layer), kept))


@pytest.mark.parametrize(("rank", "kept"), [(None, 1), (4, 1), (6, 2), (9, 3)])
def test_the_rank_is_shared_out_among_the_experts(make_layer, deltas, dense, rank, kept):
    layer = make_layer((20, 14), ranks=(3, 3, 3), weights=(1.0,) * 3, rank=rank)
    torch.testing.assert_close(dense(merge_tsv(layer, TsvConfig())), dense_tsv(deltas(layer), kept))


def test_equal_experts_share_their_directions(make_layer, deltas, dense):
    layer = make_layer(ranks=(3, 3), weights=(0.25, 0.75))
    same = replace(layer, pairs=(layer.pairs[0],) * 2)
    torch.testing.assert_close(dense(merge_tsv(same, TsvConfig(num_vectors=3))), deltas(same)[0] / 2)


def test_only_zero_experts_give_nothing(make_layer, dense):
    layer = make_layer(ranks=(2, 2), weights=(1.0, 1.0))
    pairs = tuple(pair._replace(b=torch.zeros_like(pair.b)) for pair in layer.pairs)
    assert not dense(merge_tsv(replace(layer, pairs=pairs), TsvConfig())).any()


def test_a_negative_number_of_vectors_is_refused():
    with pytest.raises(ValueError, match=r"num_vectors must be in \[0, .*\], found -1"):
        TsvConfig(num_vectors=-1)
