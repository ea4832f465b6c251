import pytest
import torch

from lorary.lowrank import thin_svd


def test_factors_multiply_back_to_the_product(pair):
    a, b = pair
    u, s, v = thin_svd(a, b)
    torch.testing.assert_close(u * s[..., None, :] @ v.mT, b @ a)


def test_singular_values_equal_those_of_the_dense_product(pair):
    a, b = pair
    s = thin_svd(a, b)[1]
    kept = min(a.shape[-2], a.shape[-1], b.shape[-2])
    torch.testing.assert_close(s[..., :kept], torch.linalg.svdvals(b @ a)[..., :kept])
    assert not s[..., kept:].any()


def test_shapes_keep_the_rank_even_above_a_width(pair):
    a, b = pair
    u, s, v = thin_svd(a, b)
    assert u.shape == b.shape
    assert v.mT.shape == a.shape
    assert s.shape == a.shape[:-1]


def test_columns_are_orthonormal_as_far_as_the_width_allows(pair):
    a, b = pair
    kept = min(a.shape[-2], a.shape[-1], b.shape[-2])
    expected = torch.diag((torch.arange(a.shape[-2]) < kept).double())
    for basis in (thin_svd(a, b)[0], thin_svd(a, b)[2]):
        torch.testing.assert_close(basis.mT @ basis, expected.expand(*a.shape[:-2], -1, -1))


@pytest.mark.parametrize("zero", ["a", "b", "both"])
def test_zero_factors_have_zero_singular_values_and_finite_vectors(draw, zero):
    a, b = draw(2, 3, 8), draw(2, 6, 3)
    if zero != "b":
        a = torch.zeros_like(a)
    if zero != "a":
        b = torch.zeros_like(b)
    u, s, v = thin_svd(a, b)
    assert not s.any()
    assert u.isfinite().all() and v.isfinite().all()


@pytest.mark.parametrize(
    ("dtype_a", "dtype_b", "expected"),
    [
        (torch.bfloat16, torch.bfloat16, torch.float32),
        (torch.float16, torch.float32, torch.float32),
        (torch.float32, torch.float64, torch.float64),
    ],
)
def test_dtype_is_at_least_float32(draw, dtype_a, dtype_b, expected):
    a, b = draw(4, 9, dtype=dtype_a), draw(7, 4, dtype=dtype_b)
    u, s, v = thin_svd(a, b)
    assert u.dtype == s.dtype == v.dtype == expected
    torch.testing.assert_close(u * s @ v.mT, b.to(expected) @ a.to(expected), rtol=1e-5, atol=1e-5)


def test_factors_that_disagree_are_refused(draw):
    with pytest.raises(ValueError, match=r"agree on R .*found a \[3, 4, 9\] and b \[3, 7, 5\]"):
        thin_svd(draw(3, 4, 9), draw(3, 7, 5))
    with pytest.raises(ValueError, match="every leading size"):
        thin_svd(draw(3, 4, 9), draw(2, 7, 4))
