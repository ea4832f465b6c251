import pytest
import torch

from lorary.errors import UnknownExpert
from lorary.routing import ROUTERS, FixedConfig, SingleConfig
from lorary.routing.fixed import FixedRouter
from lorary.routing.material import LayerMaterial

NAMES = ("dates", "morse", "prices")


def test_fixed_uses_the_given_experts_as_given(draw):
    indices, weights = FixedRouter(torch.tensor([4, 1]), torch.tensor([0.25, -1.5]))(draw(5, 16))
    assert indices.tolist() == [[4, 1]] * 5
    assert weights.tolist() == [[0.25, -1.5]] * 5


def test_fixed_without_weights_shares_equally(draw):
    assert FixedRouter(torch.tensor([4, 1]))(draw(5, 16))[1].tolist() == [[0.5, 0.5]] * 5


def test_weights_are_given_by_name(draw):
    config = FixedConfig(weights={"prices": -0.5, "dates": 2.0})
    router = ROUTERS["fixed"].build(config, LayerMaterial(num_experts=3, names=NAMES))
    indices, weights = router(draw(2, 16))
    assert (indices.tolist(), weights.tolist()) == ([[2, 0]] * 2, [[-0.5, 2.0]] * 2)


def test_a_single_expert_is_given_by_name(draw):
    router = ROUTERS["single"].build(SingleConfig(expert="morse"), LayerMaterial(num_experts=3, names=NAMES))
    indices, weights = router(draw(2, 16))
    assert (indices.tolist(), weights.tolist()) == ([[1]] * 2, [[1.0]] * 2)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (FixedConfig(), ValueError, "at least one expert: pass weights={name: weight}"),
        (FixedConfig(weights={"price": 1.0}), UnknownExpert, "no expert 'price': did you mean 'prices'"),
        (SingleConfig(), ValueError, "the name of an expert: pass expert=name"),
        (SingleConfig(expert="mors"), UnknownExpert, "no expert 'mors': did you mean 'morse'"),
    ],
)
def test_a_choice_among_other_experts_is_refused(config, error, message):
    with pytest.raises(error, match=message):
        config.check(NAMES)


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"weights must be finite, found \{'morse': nan\}"):
        FixedConfig(weights={"dates": 1.0, "morse": float("nan")})


@pytest.mark.parametrize(
    ("indices", "weights", "message"),
    [
        ([0, 1], [1.0], r"found \[2\] and \[1\]"),
        ([], [], "at least one"),
        ([0, -1], [0.5, 0.5], r"indices must be integers from 0, found \[0, -1\]"),
        ([0.0, 1.0], [0.5, 0.5], "indices must be integers"),
        ([0, 1], [0.5, float("nan")], "weights must be finite"),
    ],
)
def test_a_choice_that_cannot_work_is_refused(indices, weights, message):
    with pytest.raises(ValueError, match=message):
        FixedRouter(torch.tensor(indices), torch.tensor(weights))
