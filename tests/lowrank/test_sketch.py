import pytest
import torch

from lorary.lowrank import gram_inner
from lorary.lowrank.sketch import sketch_pairs


def test_inner_products_come_near_the_exact_ones_as_the_sketch_grows(draw):
    a, b = draw(6, 3, 12).double(), draw(6, 9, 3).double()
    exact = gram_inner(a, b)
    errors = []
    for size in (8, 64, 512):
        rows = sketch_pairs(a, b, size)
        assert (rows.shape, rows.dtype) == ((6, size**2), torch.float64)
        errors.append(float((rows @ rows.mT - exact).norm() / exact.norm()))
    assert errors[0] < 1.2 and errors[1] < 0.4 and errors[2] < 0.12


def test_inner_products_are_right_in_the_mean(draw):
    a, b = draw(4, 2, 12).double(), draw(4, 9, 2).double()
    exact = gram_inner(a, b)
    rows = torch.stack([sketch_pairs(a, b, 4, seed) for seed in range(4000)])
    products = rows @ rows.mT
    error = products.std(0) / len(rows) ** 0.5
    assert ((products.mean(0) - exact).abs() < 5 * error).all()


def test_every_number_is_a_change_seen_along_two_directions(draw):
    a, b = draw(2, 3, 5).double(), draw(2, 4, 3).double()
    found = sketch_pairs(a, b, 1, seed=7)
    # Along one pair of directions it is the sum of a change's numbers, with signs of their rows and columns.
    changes = b @ a
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 9)
    sums = torch.einsum("so,noi,si->sn", signs[:, :4], changes, signs[:, 4:])
    assert (sums - found.squeeze(-1)).abs().amax(-1).min() < 1e-9


def test_how_an_expert_is_factored_changes_nothing(draw):
    a, b, change = draw(4, 3, 12).double(), draw(4, 9, 3).double(), draw(4, 3, 3).double()
    torch.testing.assert_close(
        sketch_pairs(torch.linalg.solve(change, a), b @ change, 7), sketch_pairs(a, b, 7)
    )


def test_the_seed_decides_the_directions(draw):
    a, b = draw(2, 3, 12), draw(2, 9, 3)
    assert torch.equal(sketch_pairs(a, b, 5, seed=1), sketch_pairs(a, b, 5, seed=1))
    assert not torch.equal(sketch_pairs(a, b, 5, seed=1), sketch_pairs(a, b, 5, seed=2))


def test_a_sketch_without_numbers_is_refused(draw):
    with pytest.raises(ValueError, match="size must be at least 1, found 0"):
        sketch_pairs(draw(2, 3, 12), draw(2, 9, 3), 0)
