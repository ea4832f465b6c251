import pytest
import torch

from lorary.transforms.merging.methods.breadcrumbs import BreadcrumbsConfig, merge_breadcrumbs


def dense_band(d, density, gamma):
    kept = []
    for matrix in d:
        order = matrix.abs().flatten().sort(descending=True).values
        count = max(1, int(density * len(order)))
        first = min(int(gamma * len(order)), len(order) - count)
        last = first + count
        size = matrix.abs()
        kept.append(matrix * ((size <= order[first]) & (size >= order[min(last, len(order)) - 1])))
    return torch.stack(kept)


@pytest.mark.parametrize(
    ("density", "gamma"),
    [(0.5, 0.1), (0.9, 0.05), (0.3, 0.0), (1.0, 0.0), (0.7, 0.3), (0.9, 0.3), (1.0, 0.1)],
)
def test_the_merge_equals_the_dense_one(layer, deltas, density, gamma):
    expected = (dense_band(deltas(layer), density, gamma) / 3).sum(0)
    merged = merge_breadcrumbs(layer, BreadcrumbsConfig(density=density, gamma=gamma, scale=0.5))
    torch.testing.assert_close(merged, 0.5 * expected)


def test_signs_are_elected_if_asked_for(make_layer, deltas, dense_agree):
    layer = make_layer()
    expected = dense_agree(dense_band(deltas(layer), 0.6, 0.1), layer.weights)
    merged = merge_breadcrumbs(layer, BreadcrumbsConfig(density=0.6, gamma=0.1, elect="sign"))
    torch.testing.assert_close(merged, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -0.1}, r"gamma must be in \[0, 1\), found -0.1"),
        ({"normalize": 1}, "normalize must be true or false, found 1"),
        ({"elect": "vote"}, "elect must be 'sum' or 'sign', found 'vote'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BreadcrumbsConfig(**options)


def test_each_expert_has_a_band_of_its_own(make_layer, deltas):
    layer = make_layer(own={"density": (0.5, 0.9, 0.2), "gamma": (0.1, 0.3, 0.0)})
    bands = [
        dense_band(d[None], *own)
        for d, own in zip(deltas(layer), zip(*layer.own.values(), strict=True), strict=True)
    ]
    expected = torch.cat(bands).sum(0) / 3
    torch.testing.assert_close(merge_breadcrumbs(layer, BreadcrumbsConfig()), expected)


def test_signs_can_be_elected_without_averaging_and_sums_be_normalised(make_layer, deltas, dense_agree):
    layer = make_layer(weights=(1.0, 2.0, 0.5))
    band = dense_band(deltas(layer), 0.6, 0.1)
    merged = merge_breadcrumbs(
        layer, BreadcrumbsConfig(density=0.6, gamma=0.1, elect="sign", normalize=False)
    )
    torch.testing.assert_close(merged, dense_agree(band, layer.weights, normalize=False))
    merged = merge_breadcrumbs(layer, BreadcrumbsConfig(density=0.6, gamma=0.1, normalize=True))
    weights = torch.tensor(layer.weights).double()[:, None, None]
    torch.testing.assert_close(merged, (weights * band).sum(0) / 3.5)


def test_what_is_kept_can_be_rescaled_to_the_norm_before(make_layer, deltas):
    layer = make_layer()
    d, band = deltas(layer), dense_band(deltas(layer), 0.6, 0.1)
    band *= (d.abs().sum((1, 2)) / band.abs().sum((1, 2)))[:, None, None]
    merged = merge_breadcrumbs(layer, BreadcrumbsConfig(density=0.6, gamma=0.1, rescale=True))
    torch.testing.assert_close(merged, band.sum(0) / 3)
