import pytest
import torch

from lorary.lowrank.lanczos import leading_right_space


def kept_energy(matrix, space):
    return (matrix.double() @ space).square().sum()


# A flat spectrum, the hardest; a falling one; one with gaps; fewer directions than asked for.
SPECTRA = {
    "flat": lambda draw: draw(150, 120),
    "falling": lambda draw: draw(150, 120) * 0.9 ** torch.arange(120.0),
    "gaps": lambda draw: draw(150, 6) @ draw(6, 120) + 1e-3 * draw(150, 120),
    "few": lambda draw: draw(150, 3) @ draw(3, 120),
}


@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_as_much_energy_is_kept_as_by_the_dense_svd(draw, spectrum, dtype):
    matrix = spectrum(draw).to(dtype)
    space = leading_right_space(matrix, 5)
    best = torch.linalg.svdvals(matrix.double())[:5].square().sum()
    assert space.shape == (120, 5) and space.dtype == torch.float64
    torch.testing.assert_close(space.mT @ space, torch.eye(5, dtype=torch.float64))
    torch.testing.assert_close(kept_energy(matrix, space), best, rtol=1e-4, atol=0)


def test_directions_fall_in_strength(draw):
    matrix = draw(80, 60, dtype=torch.float64)
    lengths = (matrix @ leading_right_space(matrix, 4)).norm(dim=0)
    torch.testing.assert_close(lengths, lengths.sort(descending=True).values)


def test_a_space_of_full_size_is_exact(draw):
    matrix = draw(30, 12, dtype=torch.float64)
    space = leading_right_space(matrix, 12)
    torch.testing.assert_close(space @ space.mT, torch.eye(12, dtype=torch.float64))


def test_answers_repeat_and_global_random_numbers_are_left_alone(draw):
    matrix, before = draw(50, 40), torch.get_rng_state()
    assert torch.equal(leading_right_space(matrix, 3), leading_right_space(matrix, 3))
    assert torch.equal(torch.get_rng_state(), before)
