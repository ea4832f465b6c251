import pytest
import torch

from lorary.routing import FixedRouter, UniformRouter


def test_uniform_uses_every_expert_alike(draw):
    indices, weights = UniformRouter(3)(draw(5, 16))
    assert indices.tolist() == [[0, 1, 2]] * 5
    torch.testing.assert_close(weights, torch.full((5, 3), 1 / 3))


def test_fixed_uses_the_given_experts_as_given(draw):
    indices, weights = FixedRouter(torch.tensor([4, 1]), torch.tensor([0.25, -1.5]))(draw(5, 16))
    assert indices.tolist() == [[4, 1]] * 5
    assert weights.tolist() == [[0.25, -1.5]] * 5


def test_fixed_without_weights_shares_equally(draw):
    assert FixedRouter(torch.tensor([4, 1]))(draw(5, 16))[1].tolist() == [[0.5, 0.5]] * 5


def test_weights_of_uniform_stay_exact_in_a_bfloat16_model(draw):
    _, weights = UniformRouter(43).bfloat16()(draw(2, 16, dtype=torch.bfloat16))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2))


@pytest.mark.parametrize(
    ("indices", "weights", "message"),
    [
        ([0, 1], [1.0], r"found \[2\] and \[1\]"),
        ([], [], "at least one"),
        ([0, -1], [0.5, 0.5], r"indices must be integers from 0, found \[0, -1\]"),
        ([0.0, 1.0], [0.5, 0.5], "indices must be integers"),
        ([0, 1], [0.5, float("nan")], "weights must be finite"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(indices, weights, message):
    with pytest.raises(ValueError, match=message):
        FixedRouter(torch.tensor(indices), torch.tensor(weights))


def test_no_experts_are_refused():
    with pytest.raises(ValueError, match="num_experts must be at least 1, found 0"):
        UniformRouter(0)
