from dataclasses import replace

import pytest
import torch

from lorary.transforms.merging.methods.sce import SceConfig, merge_sce


def dense_sce(d, density, weights, agree):
    variance = d.var(0, unbiased=False)
    count = int(density * int((variance > 0).sum()))
    bound = variance.flatten().sort(descending=True).values[count - 1]
    chosen = d * (variance >= bound)
    energy = chosen.square().sum((1, 2))
    return agree(
        chosen, [w * e for w, e in zip(weights, energy / energy.sum(), strict=True)], votes=[1.0] * len(d)
    )


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_the_merge_equals_the_dense_one(layer, deltas, dense_agree, density):
    layer = replace(layer, weights=(1.0, 2.0, 0.5))
    expected = dense_sce(deltas(layer), density, layer.weights, dense_agree)
    torch.testing.assert_close(merge_sce(layer, SceConfig(density=density, scale=2.0)), 2 * expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_equal_experts_nothing_is_selected(make_layer, dtype):
    layer = make_layer(dtype=dtype)
    same = replace(layer, pairs=(layer.pairs[0],) * 3)
    assert not merge_sce(same, SceConfig(density=0.9)).any()
    torch.testing.assert_close(merge_sce(same, SceConfig(density=1.0)), same.pairs[0].b @ same.pairs[0].a)


def test_a_density_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], found 0"):
        SceConfig(density=0)
