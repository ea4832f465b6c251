import math

import pytest
import torch

from lorary.routing.diagnostics import routing_entropy


def test_entropy_is_zero_for_one_expert_and_log_k_for_equal_ones():
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]])
    assert routing_entropy(weights).tolist() == pytest.approx([0.0, math.log(4), math.log(2)])


def test_entropy_of_half_precision_weights_is_float32():
    assert routing_entropy(torch.full((2, 4), 0.25, dtype=torch.bfloat16)).dtype == torch.float32
