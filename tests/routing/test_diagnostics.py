import math

import pytest
import torch

from lorary.routing.diagnostics import expert_usage, routing_entropy
from lorary.routing.top_k import keep_top_k


def test_usage_equals_a_plain_loop(draw):
    indices, weights = keep_top_k(draw(20, 5), 2)
    totals = [0.0] * 5
    for row, shares in zip(indices.tolist(), weights.tolist(), strict=True):
        for expert, share in zip(row, shares, strict=True):
            totals[expert] += share / 20
    assert expert_usage(indices, weights, 5).tolist() == pytest.approx(totals)


def test_entropy_is_zero_for_one_expert_and_log_k_for_equal_ones():
    weights = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]])
    assert routing_entropy(weights).tolist() == pytest.approx([0.0, math.log(4), math.log(2)])


def test_entropy_of_half_precision_weights_is_float32():
    assert routing_entropy(torch.full((2, 4), 0.25, dtype=torch.bfloat16)).dtype == torch.float32


def test_usage_sums_to_one_and_sees_negative_weights():
    usage = expert_usage(torch.tensor([[0, 2]]), torch.tensor([[1.0, -1.0]]), 4)
    assert usage.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_usage_of_no_tokens_is_zero():
    assert expert_usage(torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 2), 3).tolist() == [0, 0, 0]


def test_an_expert_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="indices must be from 0 to 2, found 0 to 3"):
        expert_usage(torch.tensor([[0, 3]]), torch.ones(1, 2), 3)
    with pytest.raises(ValueError, match=r"found \[1, 2\] and \[1, 3\]"):
        expert_usage(torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 3), 3)
