import pytest
import torch

from lorary.training.loop.adamw import AdamW
from lorary.training.loop.adamw_parts import AdamWParts
from lorary.training.progress import UnitProgress

SKILLS, TABLE = AdamW(learning_rate=1e-2, max_grad_norm=1.0), AdamW(learning_rate=0.1, weight_decay=0.5)
PARTS = AdamWParts({"skills": (SKILLS, 3), "table": (TABLE, 2)})


def take_steps(optimizer, number):
    for step in range(number):
        gradient = torch.sin(torch.arange(5.0) + step) * 3
        optimizer.step(gradient, 0.0)


def test_each_part_takes_the_steps_of_its_own_optimiser():
    values, rows = torch.ones(5), {"skills": torch.ones(3), "table": torch.ones(2)}
    both = PARTS.start(values, 10)
    alone = [SKILLS.start(rows["skills"], 10), TABLE.start(rows["table"], 10)]
    for step in range(4):
        gradient = torch.sin(torch.arange(5.0) + step) * 3
        for optimizer, part in zip(alone, gradient.clone().split([3, 2]), strict=True):
            optimizer.step(part, 0.0)
        both.step(gradient, 0.0)
    assert torch.equal(values, torch.cat(list(rows.values())))


def test_a_restored_optimiser_goes_on_to_the_same_bits():
    whole, first = torch.ones(5), torch.ones(5)
    optimizer = PARTS.start(whole, 10)
    take_steps(optimizer, 2)
    saved = {key: value.clone() for key, value in optimizer.tensors().items()}
    first.copy_(whole)
    assert PARTS.find_fault(saved, 2) is None
    again = PARTS.start(first, 10)
    again.restore(saved, UnitProgress(step=2))
    assert again.num_taken == 2
    for one in (optimizer, again):
        take_steps(one, 3)
    assert torch.equal(whole, first)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda saved: saved.pop("table.exp_avg"), "part 'table': "),
        (lambda saved: saved.update({"skills.exp_avg": torch.zeros(2)}), "part 'skills': "),
        (
            lambda saved: saved.update({"other.step": torch.zeros(1)}),
            "parts skills, table only, found 'other.step'",
        ),
    ],
)
def test_a_damaged_state_is_described(change, fault):
    values = torch.ones(5)
    optimizer = PARTS.start(values, 10)
    take_steps(optimizer, 1)
    saved = optimizer.tensors()
    change(saved)
    assert fault in PARTS.find_fault(saved, 1)
