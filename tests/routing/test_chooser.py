"""The contract of choosers, and mixtures of them over the requests of a call."""

import pytest
import torch

from lorary.routing import Choice, LayerRouters, Mixed
from lorary.routing.fixed import FixedRouter

X = torch.arange(12.0).view(6, 2)
ROWS = torch.tensor([0, 2, 1, 2, -1, 0])


class ByToken:
    """Chooses expert 3 and the one that is named by a token's first number; notes what it is shown."""

    def __init__(self, combine="outputs"):
        self.combine = combine
        self.seen = []

    def choose(self, path, x, rows):
        self.seen.append((path, x.tolist(), rows.tolist()))
        indices = torch.stack([torch.full((len(x),), 3), x[:, 0].long()], 1)
        return Choice(indices, torch.full((len(x), 2), 0.5), self.combine)


class Nobody:
    def choose(self, path, x, rows):
        return None


def spread(choice, num_experts=12):
    return torch.zeros(len(X), num_experts).scatter_add(1, choice.indices, choice.weights)


def test_layer_routers_choose_at_their_own_layer():
    routers = LayerRouters({"a": FixedRouter(torch.tensor([4])), "b": None}, "factors")
    choice = routers.choose("a", X, ROWS)
    assert choice.indices.tolist() == [[4]] * 6 and choice.weights.tolist() == [[1.0]] * 6
    assert choice.combine == "factors"
    assert routers.choose("b", X, ROWS) is None


@pytest.mark.parametrize("compiling", [False, True])
def test_each_request_has_its_own_chooser(monkeypatch, compiling):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    fixed = LayerRouters({"a": FixedRouter(torch.tensor([7]))})
    choice = Mixed([([2], ByToken()), ([0], fixed)]).choose("a", X, ROWS)
    expected = torch.zeros(6, 12)
    expected[[0, 5], 7] = 1
    for token in (1, 3):
        expected[token, 3] += 0.5
        expected[token, int(X[token, 0])] += 0.5
    assert torch.equal(spread(choice), expected)


def test_a_chooser_is_asked_about_its_own_tokens_alone():
    asked = ByToken()
    Mixed([([2], asked), ([1], Nobody())]).choose("a", X, ROWS)
    assert asked.seen == [("a", X[[1, 3]].tolist(), [2, 2])]


def test_an_order_of_requests_makes_no_difference():
    mixed = Mixed([([1, 0], ByToken()), ([2], LayerRouters({"a": FixedRouter(torch.tensor([7]))}))])
    order = torch.tensor([5, 3, 0, 4, 2, 1])
    found = spread(mixed.choose("a", X, ROWS))
    assert torch.equal(spread(mixed.choose("a", X[order], ROWS[order])), found[order])


def test_where_nobody_chooses_the_base_answers_alone():
    assert Mixed([([0, 1], Nobody())]).choose("a", X, ROWS) is None
    assert Mixed([]).choose("a", X, ROWS) is None
    assert Mixed([([9], ByToken())]).choose("a", X, ROWS) is None


def test_gradients_reach_the_weights():
    weight = torch.tensor([0.5], requires_grad=True)

    class Learned:
        def choose(self, path, x, rows):
            return Choice(torch.zeros(len(x), 1, dtype=torch.int64), weight.expand(len(x), 1))

    Mixed([([0], Learned()), ([1], ByToken())]).choose("a", X, ROWS).weights.sum().backward()
    assert weight.grad.item() == 2


@pytest.mark.parametrize("parts", [[[0, 1], [1]], [[0, 0]], [[-1]]])
def test_a_request_with_two_choosers_or_none_that_can_be_is_refused(parts):
    with pytest.raises(ValueError, match="requests must be numbers from 0, each with one chooser"):
        Mixed([(rows, Nobody()) for rows in parts])


def test_several_ways_to_combine_are_refused():
    mixed = Mixed([([0], ByToken()), ([1], ByToken("factors"))])
    with pytest.raises(ValueError, match="must combine experts in the same way"):
        mixed.choose("a", X, ROWS)
    one = LayerRouters({"a": FixedRouter(torch.tensor([7]))}, "factors")
    assert Mixed([([0], ByToken()), ([1], one)]).choose("a", X, ROWS).combine == "outputs"
