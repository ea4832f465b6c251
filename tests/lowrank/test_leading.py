import pytest
import torch

from lorary.lowrank.leading import leading_right_singular


def dense_leading(a, b):
    _, s, vh = torch.linalg.svd(b.double() @ a.double(), full_matrices=False)
    return vh[..., 0, :], s[..., 0]


def assert_same_direction(v, expected, least=0.99999):
    cosine = (v.double() * expected.double()).sum(-1).abs()
    assert cosine.min() >= least


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_vector_and_value_equal_the_dense_svd(pair, dtype):
    a, b = (factor.to(dtype) for factor in pair)
    v, s = leading_right_singular(a, b)
    expected_v, expected_s = dense_leading(a, b)
    assert_same_direction(v, expected_v)
    torch.testing.assert_close(s.double(), expected_s, rtol=1e-6, atol=0)
    torch.testing.assert_close(v.norm(dim=-1), torch.ones_like(s))


@pytest.mark.parametrize("rank", [8, 32])
def test_flat_spectra_of_many_random_experts_are_exact(draw, rank):
    a, b = draw(300, rank, 96), draw(300, 64, rank)
    v, s = leading_right_singular(a, b)
    expected_v, expected_s = dense_leading(a, b)
    assert_same_direction(v, expected_v)
    torch.testing.assert_close(s.double(), expected_s, rtol=1e-6, atol=0)


def test_nearly_equal_leading_values_are_told_apart(draw):
    """Singular values 1 and 1 - 1e-5: their squares differ by less than float32 sums can tell."""
    v = torch.linalg.qr(draw(40, 4, dtype=torch.float64))[0]
    u = torch.linalg.qr(draw(30, 4, dtype=torch.float64))[0]
    mixing = draw(4, 4, dtype=torch.float64)
    b = (u * torch.tensor([1.0, 1 - 1e-5, 0.5, 0.1]) @ mixing).float()
    a = torch.linalg.solve(mixing, v.mT).float()
    assert_same_direction(leading_right_singular(a, b)[0], dense_leading(a, b)[0])


def test_decaying_spectra_are_exact(draw):
    decay = 0.3 ** torch.arange(8)
    a, b = draw(20, 8, 50) * decay[:, None], draw(20, 40, 8) * decay
    assert_same_direction(leading_right_singular(a, b)[0], dense_leading(a, b)[0])


def test_factors_of_deficient_rank_are_exact(draw):
    a, b = draw(20, 8, 50), draw(20, 40, 3) @ draw(20, 3, 8)
    a[:, 5:] = a[:, :3] * 2
    assert_same_direction(leading_right_singular(a, b)[0], dense_leading(a, b)[0])


@pytest.mark.parametrize("condition", [1e2, 1e4])
def test_refactoring_the_same_product_changes_nothing(draw, condition):
    a, b = draw(10, 4, 24, dtype=torch.float64), draw(10, 20, 4, dtype=torch.float64)
    left, right = (torch.linalg.qr(draw(4, 4, dtype=torch.float64))[0] for _ in range(2))
    change = left * torch.logspace(0, 1, 4, base=condition, dtype=torch.float64) @ right
    v, s = leading_right_singular((torch.linalg.inv(change) @ a), (b @ change))
    expected_v, expected_s = leading_right_singular(a, b)
    assert_same_direction(v, expected_v)
    torch.testing.assert_close(s, expected_s, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale_moves_the_value_and_not_the_vector(draw, scale):
    a, b = draw(5, 4, 12), draw(5, 9, 4)
    v, s = leading_right_singular(a, b)
    scaled_v, scaled_s = leading_right_singular(a, b * scale)
    assert_same_direction(scaled_v, v)
    torch.testing.assert_close(scaled_s, s * scale)


def test_zero_padding_of_the_rank_changes_nothing(draw):
    a, b = draw(5, 4, 12), draw(5, 9, 4)
    padded = torch.cat([a, torch.zeros(5, 3, 12)], 1), torch.cat([b, torch.zeros(5, 9, 3)], 2)
    v, s = leading_right_singular(*padded)
    expected_v, expected_s = leading_right_singular(a, b)
    assert_same_direction(v, expected_v)
    torch.testing.assert_close(s, expected_s)


def test_a_zero_product_has_a_zero_vector_and_leaves_the_others_alone(draw):
    a, b = draw(3, 4, 12), draw(3, 9, 4)
    b[1] = 0
    v, s = leading_right_singular(a, b)
    assert not v[1].any() and s[1] == 0
    assert_same_direction(v[[0, 2]], dense_leading(a, b)[0][[0, 2]])


def test_factors_that_cancel_have_almost_no_gain(draw):
    a, b = draw(3, 1, 12).expand(-1, 2, -1), draw(3, 9, 1)
    v, s = leading_right_singular(a, torch.cat([b, -b], -1))
    assert v.isfinite().all()
    assert (s <= 1e-5 * b.norm(dim=(1, 2))).all()


def test_nan_stays_with_its_own_pair(draw):
    a, b = draw(3, 4, 12), draw(3, 9, 4)
    a[2, 1, 5] = torch.nan
    v, s = leading_right_singular(a, b)
    assert v[2].isnan().all() and s[2].isnan()
    assert_same_direction(v[:2], dense_leading(a[:2], b[:2])[0])


def test_inputs_stay_untouched_and_answers_repeat(draw):
    a, b = draw(3, 4, 12), draw(3, 9, 4)
    before = a.clone(), b.clone()
    first, second = leading_right_singular(a, b), leading_right_singular(a, b)
    assert torch.equal(a, before[0]) and torch.equal(b, before[1])
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_no_pairs_give_no_vectors(draw):
    v, s = leading_right_singular(draw(0, 4, 12), draw(0, 9, 4))
    assert v.shape == (0, 12) and s.shape == (0,)


def test_factors_that_disagree_are_refused(draw):
    with pytest.raises(ValueError, match=r"found a \[3, 4, 12\] and b \[3, 9, 5\]"):
        leading_right_singular(draw(3, 4, 12), draw(3, 9, 5))
