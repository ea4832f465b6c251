from dataclasses import replace

import pytest
import torch

from lorary.transforms.merging.methods.knots import KnotsConfig, merge_knots


def dense_knots(d, weights, density, agree, trim, with_values):
    u, s, vh = torch.linalg.svd(torch.cat(list(d), 1), full_matrices=False)
    count = int((s > 1e-9 * s[0]).sum())
    u, s, vh = u[:, :count], s[:count], vh[:count]
    rows = torch.stack((s[:, None] * vh if with_values else vh).split(d.shape[2], 1))
    merged = agree(trim(rows, [density] * len(d)), weights)
    return u @ merged if with_values else (u * s) @ merged


@pytest.mark.parametrize("with_values", [True, False])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_the_merge_equals_the_dense_one(layer, deltas, dense, dense_agree, dense_trim, density, with_values):
    expected = dense_knots(deltas(layer), layer.weights, density, dense_agree, dense_trim, with_values)
    change = merge_knots(layer, KnotsConfig(density=density, with_values=with_values, scale=2.0))
    torch.testing.assert_close(dense(change), 2 * expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("with_values", [True, False])
def test_with_linear_inside_it_is_the_weighted_sum(layer, deltas, dense, with_values):
    layer = replace(layer, weights=(0.5, 1.0, -2.0))
    change = merge_knots(layer, KnotsConfig(inner="linear", with_values=with_values, scale=3.0))
    expected = 3 * (deltas(layer) * torch.tensor([0.5, 1.0, -2.0])[:, None, None]).sum(0)
    torch.testing.assert_close(dense(change), expected, rtol=1e-6, atol=1e-7)


def test_another_inner_method_is_refused():
    with pytest.raises(ValueError, match="inner must be 'ties' or 'linear', found 'dare'"):
        KnotsConfig(inner="dare")
