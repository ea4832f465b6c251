import pytest
import torch

from lorary.routing.uniform import UniformRouter


def test_uniform_uses_every_expert_alike(draw):
    indices, weights = UniformRouter(3)(draw(5, 16))
    assert indices.tolist() == [[0, 1, 2]] * 5
    torch.testing.assert_close(weights, torch.full((5, 3), 1 / 3))


def test_weights_stay_exact_in_a_bfloat16_model(draw):
    _, weights = UniformRouter(43).bfloat16()(draw(2, 16, dtype=torch.bfloat16))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2))


def test_uniform_over_no_experts_is_refused():
    with pytest.raises(ValueError, match="num_experts must be at least 1, found 0"):
        UniformRouter(0)
