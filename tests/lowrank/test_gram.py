import pytest
import torch

from lorary.lowrank import frobenius_norm, gram_inner
from lorary.lowrank.pairs import pad_ranks


def dense_inner(a, b):
    flat = (b @ a).flatten(-2)
    return flat @ flat.mT


def test_inner_products_equal_those_of_the_dense_products(pair):
    a, b = pair
    if a.ndim == 2:
        a, b = a[None], b[None]
    torch.testing.assert_close(gram_inner(a, b), dense_inner(a, b))


def test_inner_products_of_mixed_ranks_equal_the_dense_ones(draw):
    pairs = [(draw(rank, 12), draw(7, rank)) for rank in (2, 5, 9)]
    dense = torch.stack([(b @ a).flatten() for a, b in pairs])
    torch.testing.assert_close(gram_inner(*pad_ranks(pairs)), dense @ dense.mT, rtol=1e-4, atol=1e-4)


def test_norms_equal_those_of_the_dense_products(pair):
    a, b = pair
    torch.testing.assert_close(frobenius_norm(a, b), torch.linalg.matrix_norm(b @ a))


def test_norm_of_factors_that_cancel_is_almost_zero(draw):
    a, b = draw(3, 40), draw(30, 3)
    norm = frobenius_norm(torch.cat([a, a]), torch.cat([b, -b], 1))
    assert norm <= 1e-6 * frobenius_norm(a, b)


def test_refactoring_the_same_product_changes_no_inner_product(draw):
    a, b, change = draw(4, 3, 12).double(), draw(4, 9, 3).double(), draw(4, 3, 3).double()
    torch.testing.assert_close(gram_inner(torch.linalg.solve(change, a), b @ change), gram_inner(a, b))


def test_permuting_the_experts_permutes_the_inner_products(draw):
    a, b, order = draw(4, 3, 12), draw(4, 9, 3), torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(gram_inner(a[order], b[order]), gram_inner(a, b)[order][:, order])


def test_the_matrix_is_symmetric_to_the_last_digit(draw):
    inner = gram_inner(draw(5, 3, 40), draw(5, 30, 3))
    assert torch.equal(inner, inner.mT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_factors_are_summed_in_float32(draw, dtype):
    a, b = draw(3, 4, 20, dtype=dtype), draw(3, 10, 4, dtype=dtype)
    inner, norm = gram_inner(a, b), frobenius_norm(a, b)
    assert inner.dtype == norm.dtype == torch.float32
    torch.testing.assert_close(inner, dense_inner(a.float(), b.float()), rtol=1e-4, atol=1e-3)


def test_a_zero_expert_has_zero_norm_and_products(draw):
    a, b = draw(3, 4, 20), draw(3, 10, 4)
    b[1] = 0
    assert frobenius_norm(a, b)[1] == 0
    assert not gram_inner(a, b)[1].any()


def test_factors_without_experts_are_refused(draw):
    with pytest.raises(ValueError, match=r"a must be \[\*, E, R, I\].*found \[4, 20\]"):
        gram_inner(draw(4, 20), draw(10, 4))
    with pytest.raises(ValueError, match="agree on R"):
        frobenius_norm(draw(4, 20), draw(10, 3))


@pytest.mark.parametrize("rows", [1, 5, 6, 7, 14])
def test_how_many_experts_are_taken_at_a_time_changes_nothing(draw, monkeypatch, rows):
    a, b = draw(2, 7, 3, 12).double(), draw(2, 7, 9, 3).double()
    monkeypatch.setattr("lorary.lowrank.gram._BLOCK_ROWS", rows)
    found = gram_inner(a, b)
    torch.testing.assert_close(found, dense_inner(a, b))
    assert torch.equal(found, found.mT)


def test_factors_of_rank_zero_have_products_of_zero(draw):
    assert not gram_inner(torch.zeros(3, 0, 5), torch.zeros(3, 4, 0)).any()
