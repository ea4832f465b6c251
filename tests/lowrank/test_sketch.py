import pytest
import torch

from lorary.lowrank import gram_inner, sketch_pairs


def test_inner_products_come_near_the_exact_ones_as_the_sketch_grows(draw):
    a, b = draw(6, 3, 12).double(), draw(6, 9, 3).double()
    exact = gram_inner(a, b)
    errors = []
    for size in (64, 1024, 16384):
        rows = sketch_pairs(a, b, size)
        assert (rows.shape, rows.dtype) == ((6, size), torch.float64)
        errors.append(float((rows @ rows.mT - exact).norm() / exact.norm()))
    assert errors[0] < 0.6 and errors[1] < 0.15 and errors[2] < 0.04


def test_how_an_expert_is_factored_changes_nothing(draw):
    a, b, change = draw(4, 3, 12).double(), draw(4, 9, 3).double(), draw(4, 3, 3).double()
    torch.testing.assert_close(
        sketch_pairs(torch.linalg.solve(change, a), b @ change, 50), sketch_pairs(a, b, 50)
    )


def test_the_seed_decides_the_directions(draw):
    a, b = draw(2, 3, 12), draw(2, 9, 3)
    assert torch.equal(sketch_pairs(a, b, 20, seed=1), sketch_pairs(a, b, 20, seed=1))
    assert not torch.equal(sketch_pairs(a, b, 20, seed=1), sketch_pairs(a, b, 20, seed=2))


def test_a_sketch_without_numbers_is_refused(draw):
    with pytest.raises(ValueError, match="size must be at least 1, found 0"):
        sketch_pairs(draw(2, 3, 12), draw(2, 9, 3), 0)
