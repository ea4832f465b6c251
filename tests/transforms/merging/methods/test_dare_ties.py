import pytest
import torch

from lorary.transforms.merging.methods.dare import DareConfig, merge_dare
from lorary.transforms.merging.methods.dare_ties import DareTiesConfig, merge_dare_ties


@pytest.mark.parametrize("normalize", [True, False])
def test_the_merge_equals_the_dense_one_of_what_was_kept(make_layer, dense_agree, normalize):
    layer = make_layer(weights=(0.5, 0.2, 0.3))
    # What dare gives for one expert after the other, with the others' weights zero, is what each one kept.
    alone = [
        merge_dare(
            make_layer(weights=tuple(float(index == other) for other in range(3))), DareConfig(density=0.6)
        )
        for index in range(3)
    ]
    expected = dense_agree(torch.stack(alone), layer.weights, normalize)
    merged = merge_dare_ties(layer, DareTiesConfig(density=0.6, normalize=normalize, scale=2.0))
    torch.testing.assert_close(merged, 2 * expected)


def test_a_density_above_one_is_refused():
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], found 2"):
        DareTiesConfig(density=2)


def test_what_is_kept_can_be_rescaled_to_the_norm_before(make_layer, deltas):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    plain = merge_dare_ties(layer, DareTiesConfig(density=0.25, rescale=False))
    merged = merge_dare_ties(layer, DareTiesConfig(density=0.25, rescale_to="norm"))
    torch.testing.assert_close(merged, plain * deltas(layer)[0].abs().sum() / plain.abs().sum())
