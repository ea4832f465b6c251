import pytest
import torch

from lorary.transforms.merging.methods.breadcrumbs import BreadcrumbsConfig, merge_breadcrumbs


def dense_band(d, density, gamma):
    kept = []
    for matrix in d:
        order = matrix.abs().flatten().sort(descending=True).values
        first = round(gamma * len(order))
        last = first + max(1, round(density * len(order)))
        size = matrix.abs()
        kept.append(matrix * ((size <= order[first]) & (size >= order[min(last, len(order)) - 1])))
    return torch.stack(kept)


@pytest.mark.parametrize(("density", "gamma"), [(0.5, 0.1), (0.9, 0.05), (0.3, 0.0), (1.0, 0.0), (0.7, 0.3)])
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
        ({"density": 0.95, "gamma": 0.1}, "density \\+ gamma be at most 1, found density 0.95 and gamma 0.1"),
        ({"gamma": -0.1}, "found density 0.9 and gamma -0.1"),
        ({"elect": "vote"}, "elect must be 'sum' or 'sign', found 'vote'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BreadcrumbsConfig(**options)
