import pytest
import torch

from lorary.training.objectives.input_dropout import InputDropout

WIDTHS = {"a": 400, "b": 600}


def test_a_step_leaves_out_the_share_of_the_inputs_and_keeps_their_mean():
    dropout = InputDropout(0.25, WIDTHS, torch.device("cpu"))
    found = dropout.draw(0, 7, 3)
    assert {path: len(factors) for path, factors in found.items()} == WIDTHS
    factors = torch.cat(list(found.values()))
    assert sorted(set(factors.tolist())) == pytest.approx([0, 4 / 3])
    assert factors.mean() == pytest.approx(1.0, abs=0.08)


def test_a_draw_depends_on_seed_and_step_alone():
    draws = {}
    for slot, seed, step in ((0, 7, 3), (1, 7, 3), (0, 7, 4), (0, 8, 3)):
        fresh = InputDropout(0.5, WIDTHS, torch.device("cpu"))
        draws[slot, seed, step] = torch.cat(list(fresh.draw(slot, seed, step).values()))
    assert torch.equal(draws[0, 7, 3], draws[1, 7, 3])
    assert not torch.equal(draws[0, 7, 3], draws[0, 7, 4])
    assert not torch.equal(draws[0, 7, 3], draws[0, 8, 3])
