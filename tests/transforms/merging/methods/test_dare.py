import pytest
import torch

from lorary.transforms.merging.methods.dare import DareConfig, merge_dare


def test_the_mean_over_seeds_is_the_linear_merge(make_layer, deltas):
    layer = make_layer((30, 30))
    draws = [merge_dare(layer, DareConfig(density=0.5, seed=seed)) for seed in range(400)]
    expected = (deltas(layer) / 3).sum(0)
    # The mean of 400 draws is off by a twentieth of one draw's spread.
    assert (torch.stack(draws).mean(0) - expected).norm() < 0.08 * expected.norm()


def test_entries_are_dropped_or_rescaled(make_layer, deltas):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    merged = merge_dare(layer, DareConfig(density=0.25))
    kept = merged != 0
    torch.testing.assert_close(merged[kept], 4 * deltas(layer)[0][kept])
    assert 0.1 < kept.double().mean() < 0.4


def test_without_rescaling_what_is_kept_stays(make_layer, deltas):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    merged = merge_dare(layer, DareConfig(density=0.25, rescale=False, scale=2.0))
    kept = merged != 0
    torch.testing.assert_close(merged[kept], 2 * deltas(layer)[0][kept])


def test_at_full_density_it_is_the_linear_merge(layer, deltas):
    torch.testing.assert_close(merge_dare(layer, DareConfig(density=1.0)), (deltas(layer) / 3).sum(0))


def test_the_seed_decides(make_layer):
    layer = make_layer()
    first = merge_dare(layer, DareConfig(seed=1))
    assert torch.equal(first, merge_dare(layer, DareConfig(seed=1)))
    assert not torch.equal(first, merge_dare(layer, DareConfig(seed=2)))


def test_a_density_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], found -0.1"):
        DareConfig(density=-0.1)


def test_what_is_kept_can_be_rescaled_to_the_norm_before(make_layer, deltas):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    plain = merge_dare(layer, DareConfig(density=0.25, rescale=False))
    merged = merge_dare(layer, DareConfig(density=0.25, rescale_to="norm"))
    torch.testing.assert_close(merged, plain * deltas(layer)[0].abs().sum() / plain.abs().sum())


def test_weights_can_be_normalised(make_layer):
    layer = make_layer(weights=(1.0, 2.0, 0.5))
    torch.testing.assert_close(
        merge_dare(layer, DareConfig(normalize=True)), merge_dare(layer, DareConfig()) / 3.5
    )
    with pytest.raises(ValueError, match="must not sum to zero"):
        merge_dare(make_layer(weights=(1.0, -2.0, 1.0)), DareConfig(normalize=True))
