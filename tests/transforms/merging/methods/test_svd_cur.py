"""SVD and CUR beside dense matrices."""

from dataclasses import replace

import pytest
import torch

from lorary.experts import Factors
from lorary.transforms.merging.methods.svd_cur import SvdCurConfig, approximate_by_lines, merge_svd_cur


def dense_cur(d, count):
    """Approximate a dense matrix by its rows and columns of the largest leverage."""
    u, s, vh = torch.linalg.svd(d)
    count = min(count, int((s > 1e-9 * d.norm()).sum()))
    outputs = u[:, :count].square().sum(1).argsort(descending=True)[:count]
    inputs = vh[:count].square().sum(0).argsort(descending=True)[:count]
    columns, rows = d[:, inputs], d[outputs]
    return columns @ torch.linalg.pinv(columns) @ d @ torch.linalg.pinv(rows) @ rows


def dense_svd_cur(d, weights, shared, lines, own_scale):
    directions = torch.linalg.svd(torch.cat(list(d), 1))[0][:, :shared]
    inside = directions @ directions.mT @ d
    own = torch.stack([dense_cur(rest, lines) for rest in d - inside])
    return torch.einsum("e,eoi->oi", torch.tensor(weights, dtype=d.dtype), inside + own_scale * own)


@pytest.mark.parametrize(
    ("rank", "shared", "lines"), [(8, 0.5, 1), (8, 0.25, 2), (4, 0.0, 1), (6, 1.0, 1), (2, 0.5, 1)]
)
def test_it_equals_shared_directions_and_lines_of_dense_matrices(layer, deltas, dense, rank, shared, lines):
    layer = replace(layer, rank=rank, weights=(0.5, 1.0, -0.3))
    count = min(round(shared * rank), min(layer.shape[0], 8))
    expected = dense_svd_cur(deltas(layer), layer.weights, count, lines, 0.7)
    change = merge_svd_cur(layer, SvdCurConfig(shared=shared, own_scale=0.7, scale=2.0))
    torch.testing.assert_close(dense(change), 2 * expected, rtol=1e-6, atol=1e-7)


def test_rows_and_columns_are_those_of_the_matrix_itself(make_layer):
    a, b = make_layer((20, 12), ranks=(4,)).pairs[0]
    rows, columns = approximate_by_lines(a, b, 2, 0.0)
    d = b @ a
    assert all(any(torch.allclose(row, own) for own in d) for row in rows)
    assert columns.shape == (20, 2)


def test_as_many_lines_as_the_rank_lose_nothing(layer, deltas, dense):
    config = SvdCurConfig(shared=0.5, num_lines=4)
    torch.testing.assert_close(dense(merge_svd_cur(layer, config)), deltas(layer).mean(0))


def test_experts_of_weight_zero_and_of_zeros_have_no_influence(make_layer, dense):
    layer = make_layer(weights=(1.0, 0.0, 0.5), rank=4)
    a, b = layer.pairs[2]
    fewer = replace(layer, names=layer.names[::2], pairs=layer.pairs[::2], weights=(1.0, 0.5))
    extra = replace(
        layer,
        names=(*layer.names, "zero"),
        pairs=(*layer.pairs, Factors(0 * a, b)),
        weights=(1.0, 0.0, 0.5, 1.0),
    )
    alone = dense(merge_svd_cur(fewer, SvdCurConfig()))
    torch.testing.assert_close(dense(merge_svd_cur(layer, SvdCurConfig())), alone)
    torch.testing.assert_close(dense(merge_svd_cur(extra, SvdCurConfig())), alone)


def test_experts_of_zeros_only_give_zeros(make_layer, dense):
    layer = make_layer()
    zeros = replace(layer, pairs=tuple(Factors(a, 0 * b) for a, b in layer.pairs))
    assert not dense(merge_svd_cur(zeros, SvdCurConfig())).any()


def test_options_are_checked_all_at_once():
    with pytest.raises(ValueError, match="shared must be") as caught:
        SvdCurConfig(shared=1.5, num_lines=-1, own_scale=float("nan"))
    assert str(caught.value) == (
        "shared must be in [0, 1], found 1.5; num_lines must be in [0, 1,048,576], found -1; "
        "own_scale must be a finite number, found nan"
    )
