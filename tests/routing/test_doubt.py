import pytest
import torch

from lorary.routing.configs.calibrated import CalibratedConfig
from lorary.routing.doubt import (
    fall_back_on_all,
    fall_back_on_general,
    resolve_fallback,
    trust_margin,
)

INDICES = torch.tensor([[3, 0], [1, 2]])
WEIGHTS = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
TRUST = torch.tensor([[0.4], [1.0]])


def test_the_general_expert_gets_what_is_not_trusted():
    indices, weights = fall_back_on_general(INDICES, WEIGHTS, TRUST, 7)
    assert indices.tolist() == [[3, 0, 7], [1, 2, 7]]
    torch.testing.assert_close(weights, torch.tensor([[0.3, 0.1, 0.6], [0.5, 0.5, 0.0]]))


def test_all_experts_share_what_is_not_trusted():
    indices, weights = fall_back_on_all(INDICES, WEIGHTS, TRUST, 5, spread=1.5)
    assert indices.tolist() == [list(range(5))] * 2
    expected = torch.tensor([[0.1, 0, 0, 0.3, 0], [0, 0.5, 0.5, 0, 0]])
    expected[0] += 0.6 * 1.5 / 5
    torch.testing.assert_close(weights, expected)


def test_the_best_is_trusted_by_how_far_it_is_above_the_fourth():
    scores = torch.tensor([[5.0, 1.0, 4.8, 4.6, 0.0], [1.0, 3.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    assert trust_margin(scores, 2.0).tolist() == [[1.0], [1.0], [0.0]]
    torch.testing.assert_close(trust_margin(scores, 4.0), torch.tensor([[1.0], [0.5], [0.0]]))
    dead = trust_margin(scores, 4.0, dead_zone=0.25)
    torch.testing.assert_close(dead, torch.tensor([[1.0], [1 / 3], [0.0]]))
    assert trust_margin(scores, 4.0, dead_zone=0.5).tolist() == [[1.0], [0.0], [0.0]]
    assert trust_margin(scores[:, :3], 2.0).tolist() == [[1.0]] * 3
    broken = torch.tensor([[1.0, float("nan"), 0.5, 0.0, float("nan")], [float("inf")] * 5])
    assert trust_margin(broken, 2.0).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("has_general", "stands", "expected"),
    [(True, False, "general"), (False, False, "all"), (False, True, "base")],
)
def test_without_a_general_expert_all_are_fallen_back_on_or_only_the_one_below(has_general, stands, expected):
    assert resolve_fallback("general", has_general, stands) == expected
    for own in ("all", "base"):
        assert resolve_fallback(own, has_general, stands) == own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fallback": "generel"}, "fallback must be one of general, all, base, found 'generel'"),
        ({"fallback": None}, "fallback must be a text, found None"),
        ({"most": 1.5}, "most must be in \\[0, 1\\], found 1.5"),
        ({"dead_zone": 1.0}, "dead_zone must be at least 0 and below 1, found 1.0"),
        ({"most": -0.1, "margin": 0.0}, "margin .*; most "),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CalibratedConfig(**options)
