import pytest
import torch

from lorary.lowrank import compress, compress_dense


def best(d, rank):
    """The truncated dense SVD, and its relative error."""
    u, s, vh = torch.linalg.svd(d.double(), full_matrices=False)
    error = s[rank:].square().sum().sqrt() / s.square().sum().sqrt()
    return (u[:, :rank] * s[:rank]) @ vh[:rank], error.item()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_factors_are_cut_as_by_the_dense_svd(pair, rank):
    a, b = (side.flatten(0, -3)[0] if side.ndim > 2 else side for side in pair)
    found = compress(a, b, rank=rank)
    expected, error = best(b @ a, rank)
    torch.testing.assert_close(found.b @ found.a, expected, rtol=1e-6, atol=1e-7)
    assert found.error == pytest.approx(error, abs=1e-7)


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (25, 25)])
@pytest.mark.parametrize("rank", [1, 4, 19, 25])
def test_dense_changes_are_cut_as_by_the_dense_svd(draw, shape, rank):
    d = draw(*shape, dtype=torch.float64)
    found = compress_dense(d, rank=rank)
    expected, error = best(d, min(rank, *shape))
    assert found.a.shape == (min(rank, *shape), shape[1])
    torch.testing.assert_close(found.b @ found.a, expected, rtol=1e-6, atol=1e-7)
    assert found.error == pytest.approx(error, abs=1e-7)


@pytest.mark.parametrize("shape", [(400, 350), (350, 400)])
def test_wide_dense_changes_keep_nearly_as_much(draw, shape):
    d = draw(*shape)
    found = compress_dense(d, rank=6)
    _, error = best(d, 6)
    assert found.error == pytest.approx(error, rel=1e-6)
    assert (d - found.b @ found.a).norm() / d.norm() == pytest.approx(found.error, rel=1e-5)


@pytest.mark.parametrize(("outputs", "inputs"), [(600, 550), (40, 30)])
def test_more_ranks_than_pay_off_are_cut_as_a_dense_change(draw, outputs, inputs):
    a, b = draw(540, inputs), draw(outputs, 540)
    _, error = best(b @ a, 5)
    assert compress(a, b, rank=5).error == pytest.approx(error, rel=1e-5)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99, 1.0])
def test_an_energy_keeps_the_fewest_ranks_that_hold_it(draw, share):
    a, b = draw(9, 40, dtype=torch.float64), draw(30, 9, dtype=torch.float64)
    s = torch.linalg.svdvals(b @ a)[:9]
    kept = s.square().cumsum(0) / s.square().sum()
    expected = int((kept < share - 1e-9).sum()) + 1
    for found in (compress(a, b, energy=share), compress_dense(b @ a, energy=share)):
        assert found.a.shape[0] == found.b.shape[1] == min(expected, 9)
        assert found.error**2 <= 1 - share + 1e-9


def test_both_factors_have_half_of_every_singular_value(draw):
    for found in (compress(draw(8, 30), draw(20, 8), rank=4), compress_dense(draw(20, 30), rank=4)):
        torch.testing.assert_close(found.a.norm(dim=1), found.b.norm(dim=0))


def test_a_pair_of_no_higher_rank_comes_back_as_it_is(draw):
    a, b = draw(3, 20), draw(10, 3)
    found = compress(a, b, rank=3)
    assert found.a is a and found.b is b and found.error == 0


def test_factors_that_nearly_cancel_keep_what_is_left(draw):
    a, b = draw(3, 40), draw(30, 3)
    small = 1e-4 * draw(3, 40)
    both_a, both_b = torch.cat([a + small, a]), torch.cat([b, -b], 1)
    left = both_b.double() @ both_a.double()
    found = compress(both_a, both_b, rank=3)
    assert found.error < 1e-6
    torch.testing.assert_close((found.b @ found.a).double(), left, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("goal", [{"rank": 2}, {"energy": 0.9}])
def test_nothing_is_cut_to_nothing(draw, goal):
    for found in (
        compress(torch.zeros(4, 30), draw(20, 4), **goal),
        compress_dense(torch.zeros(20, 30), **goal),
    ):
        assert found.error == 0 and not (found.b @ found.a).any()
        assert found.a.shape[0] == goal.get("rank", 1)


def test_rank_above_what_there_is_loses_nothing(draw):
    a, b = draw(2, 30, dtype=torch.float64), draw(20, 2, dtype=torch.float64)
    twice = compress(torch.cat([a, a]), torch.cat([b, b], 1), rank=3)
    torch.testing.assert_close(twice.b @ twice.a, 2 * b @ a)
    assert twice.error < 1e-7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_cut_in_float32(draw, dtype):
    found = compress(draw(8, 30, dtype=dtype), draw(20, 8, dtype=dtype), rank=4)
    assert found.a.dtype == found.b.dtype == torch.float32


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "either a rank or an energy must be given, found None and None"),
        ({"rank": 2, "energy": 0.5}, "found 2 and 0.5"),
        ({"rank": 0}, "a rank must be at least 1, found 0"),
        ({"energy": 1.5}, r"an energy must be in \(0, 1\], found 1.5"),
    ],
)
def test_goals_that_make_no_sense_are_refused(draw, goal, message):
    with pytest.raises(ValueError, match=message):
        compress(draw(8, 30), draw(20, 8), **goal)
    with pytest.raises(ValueError, match=message):
        compress_dense(draw(20, 30), **goal)


@pytest.mark.parametrize("size", [1e25, 1e37])
def test_the_error_of_large_values_is_that_of_small_ones(size):
    """Guards a bug: squares that float32 cannot hold made the error NaN."""
    generator = torch.Generator().manual_seed(0)
    d = torch.rand(9, 7, generator=generator)
    found, expected = (compress_dense(each, rank=2) for each in (d * size, d))
    assert found.error == pytest.approx(expected.error, rel=1e-3) and 0 < found.error < 1
