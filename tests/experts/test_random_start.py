from dataclasses import replace

import pytest
import torch

from lorary.experts import Expert, ExpertCard, Factors
from lorary.experts.random_start import draw_start, find_start_seed, find_start_seeds
from lorary.experts.seeds import seed_for

SHAPES = {"q": (2, 16), "down": (2, 25)}
TRAINING = {"seed": 3, "same_start": False}


def make(name="sql", **provenance):
    pair = Factors(torch.ones(2, 16), torch.ones(8, 2))
    return Expert(name, "tiny", {"q": pair}, ExpertCard(provenance=provenance))


def test_values_are_uniform_within_one_over_the_root_of_the_width():
    start = draw_start(7, {"wide": (64, 400)})["wide"]
    assert start.abs().max() <= 1 / 20
    assert start.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.02)
    assert abs(start.mean()) < 0.001


def test_the_same_seed_draws_the_same_and_the_order_of_modules_matters():
    one, same = draw_start(7, SHAPES), draw_start(7, SHAPES)
    assert list(one) == list(SHAPES) and all(torch.equal(one[path], same[path]) for path in SHAPES)
    other = draw_start(7, dict(reversed(SHAPES.items())))
    assert not torch.equal(one["q"], other["q"])
    assert not torch.equal(one["q"], draw_start(8, SHAPES)["q"])


def test_the_card_tells_the_seed():
    assert find_start_seed(make(start_seed=12)) == 12
    renamed = replace(make(start_seed=12, training=TRAINING), name="other")
    assert find_start_seed(renamed) == 12


def test_earlier_cards_tell_it_by_the_seed_of_the_run_and_the_name():
    assert find_start_seed(make(training=TRAINING)) == seed_for(3, "sql")
    assert find_start_seed(make(training={**TRAINING, "same_start": True})) == seed_for(3, "")


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"training": TRAINING, "start": {"expert": "other"}},
        {"training": {"seed": "3"}},
        {"training": {"seed": True}},
        {"training": "3"},
        {"start_seed": -1},
        {"start_seed": 2**63},
        {"start_seed": 1.0},
        {"start_seed": True},
    ],
)
def test_other_cards_tell_none(provenance):
    assert find_start_seed(make(**provenance)) is None


def test_of_several_experts_those_with_a_seed_are_returned():
    assert find_start_seeds({"sql": make(start_seed=1), "merged": make("merged")}) == {"sql": 1}
