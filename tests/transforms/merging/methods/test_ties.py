import pytest
import torch

from lorary.transforms.merging.methods.ties import TiesConfig, merge_ties


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("normalize", [True, False])
def test_the_merge_equals_the_dense_one(layer, deltas, dense_trim, dense_agree, density, normalize):
    expected = dense_agree(dense_trim(deltas(layer), [density] * 3), layer.weights, normalize)
    merged = merge_ties(layer, TiesConfig(density=density, normalize=normalize, scale=1.5))
    torch.testing.assert_close(merged, 1.5 * expected)


def test_each_expert_may_keep_another_share(make_layer, deltas, dense_trim, dense_agree):
    layer = make_layer(weights=(0.2, 0.5, 0.3), own={"density": (0.1, 0.4, 0.8)})
    expected = dense_agree(dense_trim(deltas(layer), layer.own["density"]), layer.weights)
    torch.testing.assert_close(merge_ties(layer, TiesConfig()), expected)


def test_small_blocks_give_the_same_merge(make_layer, monkeypatch):
    layer = make_layer(seed=4)
    whole = merge_ties(layer, TiesConfig())
    monkeypatch.setattr("lorary.transforms.merging.entrywise.blocks._BLOCK_NUMEL", 1)
    torch.testing.assert_close(merge_ties(layer, TiesConfig()), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, r"density must be in \(0, 1\], found 0.0"),
        ({"density": 1.5}, r"density must be in \(0, 1\], found 1.5"),
        ({"normalize": 1}, "normalize must be true or false, found 1"),
        ({"density": 2.0, "scale": float("inf")}, "density .*; scale must be a finite number, found inf"),
    ],
)
def test_options_out_of_range_are_refused_all_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        TiesConfig(**options)


def test_what_is_kept_can_be_rescaled_to_the_norm_before(make_layer, deltas, dense_trim, dense_agree):
    layer = make_layer()
    d = deltas(layer)
    kept = dense_trim(d, [0.3] * 3)
    kept *= (d.abs().sum((1, 2)) / kept.abs().sum((1, 2)))[:, None, None]
    merged = merge_ties(layer, TiesConfig(density=0.3, rescale=True))
    torch.testing.assert_close(merged, dense_agree(kept, layer.weights))
