import pytest
import torch

from lorary.transforms.prototypes import arrow_prototypes
from lorary.transforms.tied import tied_prototypes


@pytest.fixture
def pairs(draw):
    """Three layers of one input, as q, k and v: four experts, other ranks and outputs in each."""
    return [
        (draw(4, 3, 12), draw(4, 12, 3)),
        (draw(4, 2, 12), draw(4, 5, 2)),
        (draw(4, 15, 12), draw(4, 6, 15)),
    ]


def test_a_tied_prototype_is_that_of_the_tall_dense_change(pairs):
    prototypes, gains = tied_prototypes(pairs)
    for expert in range(4):
        tall = torch.cat([b[expert].double() @ a[expert].double() for a, b in pairs])
        _, values, directions = torch.linalg.svd(tall)
        assert gains[expert].item() == pytest.approx(float(values[0]), rel=1e-5)
        assert abs(float(prototypes[expert].double() @ directions[0])) == pytest.approx(1, abs=1e-5)


def test_one_layer_alone_is_not_changed_by_tying(pairs):
    for found, expected in zip(tied_prototypes(pairs[:1]), arrow_prototypes(*pairs[0]), strict=True):
        torch.testing.assert_close(found, expected)


def test_layers_that_share_their_a_tie_by_stacking_their_b(pairs, draw):
    a = pairs[0][0]
    first, second = draw(4, 12, 3), draw(4, 5, 3)
    prototypes, gains = tied_prototypes([(a, first), (a, second)])
    expected, expected_gains = arrow_prototypes(a, torch.cat([first, second], dim=1))
    torch.testing.assert_close(gains, expected_gains)
    torch.testing.assert_close((prototypes * expected).sum(-1).abs(), torch.ones(4))


def test_a_layer_that_an_expert_leaves_alone_adds_nothing(pairs):
    (a, b), rest = pairs[0], pairs[1:]
    prototypes, gains = tied_prototypes([(a, torch.zeros_like(b)), *rest])
    expected, expected_gains = tied_prototypes(rest)
    torch.testing.assert_close(gains, expected_gains)
    torch.testing.assert_close((prototypes * expected).sum(-1).abs(), torch.ones(4))


def test_bfloat16_factors_give_float32(pairs):
    prototypes, gains = tied_prototypes([(a.bfloat16(), b.bfloat16()) for a, b in pairs])
    assert prototypes.dtype == gains.dtype == torch.float32


@pytest.mark.parametrize("shape", [(4, 3, 11), (5, 3, 12)])
def test_layers_of_other_experts_or_inputs_are_refused(pairs, draw, shape):
    with pytest.raises(ValueError, match=r"must be at least one and have the same"):
        tied_prototypes([*pairs, (draw(*shape), draw(shape[0], 7, 3))])
    with pytest.raises(ValueError, match=r"at least one"):
        tied_prototypes([])
