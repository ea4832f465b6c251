import pytest
import torch

from lorary.transforms.merging.methods.iso_cts import IsoCtsConfig, merge_iso_cts


def polar(side):
    u, _, vh = torch.linalg.svd(side, full_matrices=False)
    return u @ vh


def dense_iso_cts(d, num_common, num_own):
    u, s, vh = torch.linalg.svd(d.sum(0))
    common = u[:, :num_common]
    left, values, right = [common], [s[:num_common]], [vh[:num_common].mT]
    for matrix in d:
        own_u, own_s, own_vh = torch.linalg.svd(matrix - common @ common.mT @ matrix)
        left.append(own_u[:, :num_own])
        values.append(own_s[:num_own])
        right.append(own_vh[:num_own].mT)
    level = torch.cat(values).mean()
    return level * polar(torch.cat(left, 1)) @ polar(torch.cat(right, 1)).mT


@pytest.mark.parametrize(("common", "num_common", "num_own"), [(0.8, 7, 0), (0.6, 5, 1), (0.2, 2, 2)])
def test_the_merge_equals_the_dense_one(make_layer, deltas, dense, common, num_common, num_own):
    layer = make_layer((20, 16), ranks=(3, 3, 3), weights=(1.0, 1.0, 1.0))
    change = merge_iso_cts(layer, IsoCtsConfig(common=common, scale=0.5))
    torch.testing.assert_close(dense(change), 0.5 * dense_iso_cts(deltas(layer), num_common, num_own))


def test_with_all_directions_common_it_is_iso(layer, deltas, dense):
    total = (deltas(layer) / 3).sum(0)
    u, s, vh = torch.linalg.svd(total)
    rank = int(torch.linalg.matrix_rank(total))
    expected = s[:rank].mean() * u[:, :rank] @ vh[:rank]
    torch.testing.assert_close(dense(merge_iso_cts(layer, IsoCtsConfig(common=1.0))), expected)


def test_a_share_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"common must be in \(0, 1\], found 0"):
        IsoCtsConfig(common=0)
