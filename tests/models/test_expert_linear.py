import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lorary.models import mix
from lorary.models.expert_linear import ExpertLinear
from lorary.models.plan import Plan
from lorary.models.routing_context import Call, RoutingContext
from lorary.routing import LayerRouters
from lorary.routing.fixed import FixedRouter

LAYERS = {
    "square": lambda: nn.Linear(6, 6),
    "oblong": lambda: nn.Linear(6, 9),
    "conv1d": lambda: Conv1D(9, 6),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    base = LAYERS[request.param]().double()
    width_out = base(torch.zeros(1, 6).double()).shape[1]
    a, b_t = torch.randn(5, 2, 6), torch.randn(5, 2, width_out)
    return ExpertLinear(base, a.double(), b_t.double(), RoutingContext())


@pytest.fixture
def x():
    return torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def decide(layer, indices, weights=None, combine="outputs"):
    indices = torch.tensor(indices)
    weights = torch.ones(indices.shape) if weights is None else torch.tensor(weights)
    layer._context.own.cell.value = Call(Plan(indices, weights, 5, combine), num_requests=len(indices))


@pytest.mark.parametrize("indices", [[[0], [1], [4]], [[2], [1], [2]], [[4], [4], [4]]])
def test_each_sequence_gets_the_change_of_its_expert(layer, x, indices):
    decide(layer, indices)
    found = layer(x)
    for row, (expert,) in enumerate(indices):
        change = layer.b[expert] @ layer.a[expert]
        torch.testing.assert_close(found[row], layer.base(x[row]) + x[row] @ change.T)


@pytest.mark.parametrize("combine", ["outputs", "factors"])
def test_a_router_decides_for_each_token_what_mix_does(layer, x, combine):
    router = FixedRouter(torch.tensor([3, 1]), torch.tensor([0.75, 0.5]))
    layer._context.default = Call(LayerRouters({"": router}, combine))
    assert layer.router is router
    tokens = x.reshape(-1, 6)
    expected = layer.base(tokens) + mix(tokens, layer.a, layer.b, *layer.router(tokens), combine, "reference")
    torch.testing.assert_close(layer(x), expected.view(3, 4, -1))
    torch.testing.assert_close(layer(tokens), expected)


def test_gradients_reach_exactly_the_experts_that_are_used(layer, x):
    layer.a.requires_grad_()
    layer.b_t.requires_grad_()
    decide(layer, [[2], [1], [2]])
    layer(x).sum().backward()
    for gradient in (layer.a.grad, layer.b_t.grad):
        assert [bool(part.any()) for part in gradient] == [False, True, True, False, False]
    expected = torch.einsum("blr,o->ro", x[[0, 2]] @ layer.a[2].T, torch.ones(layer.b_t.shape[2]).double())
    torch.testing.assert_close(layer.b_t.grad[2], expected)


def test_with_nobody_deciding_the_base_answers_alone(layer, x):
    assert torch.equal(layer(x), layer.base(x))


def test_a_plan_for_the_base_alone_gives_exactly_the_base(layer, x):
    decide(layer, [[0], [1], [2]], [[0.0], [0.0], [0.0]])
    assert torch.equal(layer(x), layer.base(x))


def test_what_a_call_says_comes_before_the_default(layer, x):
    decide(layer, [[0], [1], [2]])
    planned = layer(x)
    layer._context.default = Call(LayerRouters({"": FixedRouter(torch.tensor([4]))}))
    assert torch.equal(layer(x), planned)


def test_the_dtype_of_the_base_is_kept(layer, x):
    layer.base.bfloat16()
    decide(layer, [[0], [1], [2]])
    assert layer(x.bfloat16()).dtype == torch.bfloat16


def test_factors_are_no_trained_parameters_unless_asked(layer):
    assert not layer.a.requires_grad and not layer.b_t.requires_grad
    assert layer.b.shape == (5, layer.b_t.shape[2], 2)
