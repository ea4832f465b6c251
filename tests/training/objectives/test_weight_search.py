import numpy as np
import torch

from lorary.training.objectives.weight_search import WeightSearch
from lorary.training.progress import UnitProgress

WANTED = torch.tensor([0.5, -0.25, 1.0])
OPTIONS = {"limit": 1.5, "penalty": 0.0, "seed": 3}


def measure(values):
    return float((values - WANTED).square().sum())


def search(values, num_steps, **changes):
    """Take all steps; returns the search, and each step's values and loss."""
    found = WeightSearch(values, num_steps, **{**OPTIONS, **changes})
    tried = []
    for _ in range(num_steps):
        tried.append((values.clone(), measure(values)))
        found.step(torch.zeros(3), tried[-1][1])
    return found, tried


def test_zeros_are_tried_first_and_the_best_values_are_left_in_the_row():
    values = torch.full((3,), 9.0)
    found, tried = search(values, 40)
    assert not tried[0][0].any()
    assert all(row.abs().max() <= 1.5 for row, _ in tried)
    best, loss = min(tried, key=lambda row: row[1])
    assert torch.equal(values, best) and found.best_loss == loss < tried[0][1] / 2
    np.testing.assert_allclose(found.best, best, rtol=1e-6)


def test_the_penalty_decides_with_the_loss():
    found, tried = search(torch.zeros(3), 20, penalty=1e6)
    assert not found.best.any() and found.best_loss == tried[0][1]


def test_a_restored_search_goes_on_as_if_nothing_had_happened():
    whole, tried = search(torch.zeros(3), 20)
    values = torch.zeros(3)
    again = WeightSearch(values, 20, **OPTIONS)
    curve = [(step, loss) for step, (_, loss) in enumerate(tried[:8], start=1)]
    again.restore({}, UnitProgress(step=8, train_curve=curve))
    for row, loss in tried[8:]:
        assert torch.equal(values, row)
        again.step(torch.zeros(3), loss)
    np.testing.assert_array_equal(again.best, whole.best)
