"""Layer routers that do not fit their layer, of every kind. A new router joins by itself."""

import pytest
import torch
from torch import nn

from lorary.facts import FACTS
from lorary.routing import configure_router
from lorary.routing.fixed import FixedRouter
from lorary.routing.material import LayerMaterial
from lorary.routing.named import TOKEN_ROUTERS
from lorary.routing.shapes import check_router, find_shape_fault
from lorary.routing.uniform import UniformRouter

INPUTS, NUM_EXPERTS = 16, 6
OPTIONS = {"fixed": {"weights": {"expert 0": 1.0}}, "single": {"expert": "expert 0"}}


@pytest.fixture(params=TOKEN_ROUTERS)
def router(request, make_material):
    config = configure_router(request.param, OPTIONS.get(request.param, {}))
    return TOKEN_ROUTERS[request.param].build(config, make_material(NUM_EXPERTS))


@pytest.fixture
def x():
    return torch.zeros(1, INPUTS)


def test_a_router_says_what_shapes_its_buffers_have(router):
    assert router.SHAPES.keys() == dict(router.named_buffers()).keys()


def test_a_router_of_its_layer_is_taken(router, x):
    check_router(router, "layer", x, NUM_EXPERTS)
    check_router(router, "layer", x, NUM_EXPERTS + 2)  # controls, which it does not choose from


def test_buffers_of_any_other_shape_are_refused(router, x):
    """Guards a bug: compiled operators read memory beyond the buffers."""
    for name, letters in router.SHAPES.items():
        original = getattr(router, name)
        for dim, letter in enumerate(letters):
            for change in (-1, 1):
                size = original.shape[dim] + change
                shape = [*original.shape[:dim], size, *original.shape[dim + 1 :]]
                setattr(router, name, torch.zeros(shape, dtype=original.dtype))
                is_possible = letter == "K" or (letter == "E" and set(router.SHAPES.values()) <= {"E", "EI"})
                if not is_possible or (letter == "E" and change > 0):
                    with pytest.raises(ValueError, match=r"router of layer 'a\.b' does not fit it, "):
                        check_router(router, "a.b", x, NUM_EXPERTS)
        setattr(router, name, original.unsqueeze(0))
        with pytest.raises(ValueError, match="does not fit it"):
            check_router(router, "a.b", x, NUM_EXPERTS)
        setattr(router, name, original)


def test_more_experts_than_the_layer_has_are_refused(router, x):
    if isinstance(router, FixedRouter):
        router = FixedRouter(torch.tensor([NUM_EXPERTS - 1]))
    with pytest.raises(ValueError, match=r"'a\.b' does not fit it, .* 5 experts, found"):
        check_router(router, "a.b", x, NUM_EXPERTS - 1)


class Answer(nn.Module):
    """A router of someone else's."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (torch.zeros(1, 2).long(), torch.ones(1, 3)), r"of shape \[T, K\], found \[1, 2\] and"),
        (lambda x: (torch.zeros(2, 2).long(), torch.ones(2, 2)), r"of shape \[T, K\]"),
        (lambda x: (torch.zeros(1, 2), torch.ones(1, 2)), "int64 indices and .*, found torch.float32"),
        (lambda x: (torch.zeros(1, 2).int(), torch.ones(1, 2)), "found torch.int32"),
        (lambda x: (torch.zeros(1, 2).long(), torch.ones(1, 2).long()), "found torch.int64 and torch.int64"),
        (lambda x: (torch.tensor([[6]]), torch.ones(1, 1)), r"among 6 experts, found \[6\]"),
        (lambda x: (torch.tensor([[-1]]), torch.ones(1, 1)), r"among 6 experts, found \[-1\]"),
        (lambda x: (torch.zeros(1, 1).long(), torch.full((1, 1), float("nan"))), "finite weights"),
        (lambda x: x @ torch.zeros(15, 3), "cannot read a token of 16 numbers .RuntimeError"),
        (lambda x: None, "cannot read a token of 16 numbers .TypeError"),
    ],
)  # fmt: skip
def test_routers_of_others_are_tried_on_a_token(x, answer, message):
    with pytest.raises(ValueError, match=f"router of layer 'a.b' does not fit it, .*{message}"):
        check_router(Answer(answer), "a.b", x, NUM_EXPERTS)


def test_a_router_of_anothers_that_fits_is_taken(x):
    check_router(Answer(UniformRouter(3)), "a.b", x, NUM_EXPERTS)


SHAPES = {name: letters for fact in FACTS.values() for name, letters in fact.shapes.items() if "E" in letters}


@pytest.mark.parametrize("field", SHAPES)
def test_material_of_shapes_that_disagree_is_refused(field):
    sizes = dict(zip("ERIOC", (4, 2, 8, 6, 5), strict=True))
    tensors = {name: torch.zeros([sizes[letter] for letter in letters]) for name, letters in SHAPES.items()}
    LayerMaterial(num_experts=4, tensors=tensors, shapes=SHAPES)
    for dim, size in enumerate(tensors[field].shape):
        shape = [*tensors[field].shape[:dim], size + 1, *tensors[field].shape[dim + 1 :]]
        if (field, dim) in (("b", 1), ("components", 1)):
            continue  # nothing else has as many numbers as the layer's output, or as components have
        with pytest.raises(ValueError, match=r"must (agree on their shapes|have one row)"):
            LayerMaterial(num_experts=4, tensors={**tensors, field: torch.zeros(shape)}, shapes=SHAPES)


def test_one_letter_is_one_size():
    assert (
        find_shape_fault({"a": "ER", "b": "RE"}, {"a": torch.zeros(2, 3), "b": torch.zeros(3, 2)}, {}) is None
    )
    assert (
        find_shape_fault({"a": "EE"}, {"a": torch.zeros(2, 3)}, {})
        == "a must be [E, E] = [E, E], found [2, 3]"
    )
