import pytest
import torch

from lorary.transforms.merging.methods.della import DellaConfig, merge_della


def merge_one(layer, **options):
    return merge_della(layer, DellaConfig(elect="sum", **options))


def test_large_entries_are_kept_more_often_and_each_divided_by_its_chance(make_layer, deltas):
    layer = make_layer((200, 40), ranks=(3,), weights=(1.0,))
    merged, d = merge_one(layer, density=0.5, epsilon=0.4), deltas(layer)[0]
    ranks = d.abs().argsort(1).argsort(1)
    chances = 0.1 + 0.8 * ranks / 39
    kept = merged != 0
    torch.testing.assert_close(merged[kept], (d / chances)[kept])
    assert kept[ranks < 10].double().mean() < 0.3 < 0.7 < kept[ranks >= 30].double().mean()


def test_the_mean_over_seeds_is_the_sum(make_layer, deltas):
    layer = make_layer((30, 30))
    draws = [merge_one(layer, density=0.5, epsilon=0.2, seed=seed) for seed in range(400)]
    expected = (deltas(layer) / 3).sum(0)
    assert (torch.stack(draws).mean(0) - expected).norm() < 0.08 * expected.norm()


def test_signs_are_elected_among_what_was_kept(make_layer, dense_agree):
    layer = make_layer(weights=(0.5, 0.2, 0.3))
    alone = [
        merge_one(make_layer(weights=tuple(float(index == other) for other in range(3))))
        for index in range(3)
    ]
    expected = dense_agree(torch.stack(alone), layer.weights)
    torch.testing.assert_close(merge_della(layer, DellaConfig()), expected)


def test_without_rescaling_what_is_kept_stays(make_layer, deltas):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    merged = merge_one(layer, rescale=False)
    kept = merged != 0
    torch.testing.assert_close(merged[kept], deltas(layer)[0][kept])


def test_a_layer_of_one_input_keeps_entries_by_the_density(make_layer, deltas):
    layer = make_layer((50, 1), ranks=(1,), weights=(1.0,))
    merged = merge_one(layer, density=0.5, epsilon=0.1)
    kept = merged != 0
    torch.testing.assert_close(merged[kept], 2 * deltas(layer)[0][kept])


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.15), (0.9, 0.15), (0.5, -0.1)])
def test_chances_beyond_zero_and_one_are_refused(density, epsilon):
    with pytest.raises(ValueError, match=f"found density {density} and epsilon {epsilon}"):
        DellaConfig(density=density, epsilon=epsilon)


def test_at_density_one_all_is_kept(make_layer, deltas):
    layer = make_layer()
    torch.testing.assert_close(merge_one(layer, density=1.0), deltas(layer).sum(0) / 3)


def test_each_expert_has_chances_of_its_own(make_layer):
    layer = make_layer(
        (200, 40), ranks=(3, 3), weights=(1.0, 0.0), own={"density": (0.2, 0.8), "epsilon": (0.0, 0.1)}
    )
    share = (merge_one(layer, rescale=False) != 0).double().mean()
    assert 0.17 < share < 0.23
    other = make_layer((200, 40), ranks=(3, 3), weights=(0.0, 1.0), own=layer.own)
    assert 0.77 < (merge_one(other, rescale=False) != 0).double().mean() < 0.83


def test_what_is_kept_can_be_rescaled_to_the_norm_before(make_layer, deltas):
    layer = make_layer(ranks=(3,), weights=(1.0,))
    plain, merged = merge_one(layer, rescale=False), merge_one(layer, rescale_to="norm")
    assert torch.equal(plain != 0, merged != 0)
    torch.testing.assert_close(merged, plain * deltas(layer)[0].abs().sum() / plain.abs().sum())


def test_the_weights_of_a_sum_can_be_normalised(make_layer):
    layer = make_layer(weights=(1.0, 2.0, 0.5))
    torch.testing.assert_close(merge_one(layer, normalize=True), merge_one(layer) / 3.5)
