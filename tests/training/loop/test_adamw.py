import pytest
import torch

from lorary.training.loop.adamw import AdamW
from lorary.training.progress import UnitProgress

SETTINGS = AdamW(learning_rate=1e-2, schedule="constant", max_grad_norm=0.5, weight_decay=0.1)


def draw(seed, size=7):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_a_step_clips_and_updates_as_torch_does():
    values, gradient = draw(0), draw(1)
    reference = torch.nn.Parameter(values.clone())
    reference.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_([reference], 0.5)
    torch.optim.AdamW([reference], lr=1e-2, weight_decay=0.1).step()
    SETTINGS.start(values, 3).step(gradient, 1.0)
    torch.testing.assert_close(values, reference.detach())


def test_the_learning_rate_follows_the_schedule():
    values = torch.zeros(1)
    optimizer = AdamW(learning_rate=1.0, schedule="linear", warmup_ratio=0.5).start(values, 4)
    sizes = []
    for _ in range(4):
        before = values.clone()
        optimizer.step(torch.ones(1), 1.0)
        sizes.append(float(before - values))
    assert sizes == pytest.approx([0.5, 1.0, 1.0, 0.5], rel=1e-4)


@pytest.mark.parametrize("num_taken", [0, 2])
def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened(num_taken):
    values = draw(0)
    first = SETTINGS.start(values, 5)
    for step in range(num_taken):
        first.step(draw(step), 1.0)
    saved = {key: value.clone() for key, value in first.tensors().items()}
    assert SETTINGS.find_fault(saved, num_taken, 7) is None
    others = values.clone()
    second = SETTINGS.start(others, 5)
    second.restore(saved, UnitProgress(step=num_taken))
    first.step(draw(9), 1.0)
    second.step(draw(9), 1.0)
    assert torch.equal(values, others)


def test_a_state_that_cannot_be_is_refused():
    optimizer = SETTINGS.start(draw(0), 5)
    optimizer.step(draw(1), 1.0)
    good = optimizer.tensors()
    assert "must have taken 2 steps, found 1" in SETTINGS.find_fault(good, 2, 7)
    assert "'exp_avg' must have shape [8], found [7]" in SETTINGS.find_fault(good, 1, 8)
    assert "'exp_avg' must have shape none" in SETTINGS.find_fault(good, 0, 7)
    negative = {**good, "exp_avg_sq": -good["exp_avg_sq"]}
    assert "at least 0" in SETTINGS.find_fault(negative, 1, 7)
