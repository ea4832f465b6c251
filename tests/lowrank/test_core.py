import pytest
import torch

from lorary.lowrank import core_space
from lorary.lowrank.core import input_basis, output_basis


def draw_pairs(draw, outputs, inputs, ranks=(3, 1, 4)):
    return [
        (draw(rank, inputs, dtype=torch.float64), draw(outputs, rank, dtype=torch.float64)) for rank in ranks
    ]


@pytest.mark.parametrize(("outputs", "inputs"), [(20, 20), (30, 12), (5, 40), (4, 6)])
def test_cores_hold_all_of_the_weight_changes(draw, outputs, inputs):
    pairs = draw_pairs(draw, outputs, inputs)
    space = core_space(pairs)
    assert space.basis_a.shape == (inputs, min(8, inputs)) and space.basis_b.shape == (
        outputs,
        min(8, outputs),
    )
    for basis in space[:2]:
        torch.testing.assert_close(basis.mT @ basis, torch.eye(basis.shape[1], dtype=torch.float64))
    for (a, b), (core_a, core_b) in zip(pairs, space.pairs, strict=True):
        torch.testing.assert_close(space.basis_b @ core_b @ core_a @ space.basis_a.mT, b @ a)


@pytest.mark.parametrize(("outputs", "inputs"), [(20, 20), (5, 40), (40, 5)])
def test_bases_are_singular_vectors_of_all_weight_changes_together(draw, outputs, inputs):
    pairs = draw_pairs(draw, outputs, inputs)
    d = [b @ a for a, b in pairs]
    for stacked, (basis, values) in (
        (torch.cat(d), input_basis(pairs)),
        (torch.cat(d, 1).mT, output_basis(pairs)),
    ):
        _, s, vh = torch.linalg.svd(stacked, full_matrices=False)
        torch.testing.assert_close(values, s[: len(values)])
        cosines = (vh[: len(values)].mT * basis).sum(0).abs()
        torch.testing.assert_close(cosines, torch.ones_like(cosines))


def test_refactoring_and_reordering_turn_no_direction(draw):
    pairs, change = draw_pairs(draw, 20, 15), draw(4, 4, dtype=torch.float64)
    other = [(torch.linalg.solve(change, pairs[2][0]), pairs[2][1] @ change), pairs[1], pairs[0]]
    for find in (input_basis, output_basis):
        cosines = (find(pairs)[0] * find(other)[0]).sum(0).abs()
        torch.testing.assert_close(cosines, torch.ones_like(cosines))


def test_directions_that_no_expert_uses_are_left_out(draw):
    (a, b), nothing = draw_pairs(draw, 20, 15, (3,))[0], (torch.zeros(2, 15), torch.zeros(20, 2))
    space = core_space([(a, b), (a, 2 * b), nothing])
    assert space.basis_a.shape == (15, 3) and space.basis_b.shape == (20, 3)
    assert not (space.pairs[2][1] @ space.pairs[2][0]).any()


def test_only_zeros_have_one_direction_on_each_side():
    space = core_space([(torch.zeros(2, 15), torch.zeros(20, 2))])
    assert space.basis_a.shape == (15, 1) and space.basis_b.shape == (20, 1)
