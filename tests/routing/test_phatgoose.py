import pytest
import torch
from torch.nn.functional import layer_norm

from lorary.routing import ROUTERS
from lorary.routing.phatgoose import PhatgooseRouter, phatgoose_scores, standardise


def test_scores_equal_a_plain_loop(draw):
    x, gates = draw(5, 16), draw(6, 16)
    scores = phatgoose_scores(x, standardise(gates))
    for token in range(5):
        for expert in range(6):
            first, second = (
                (row - row.mean()) / row.std(correction=0)
                for row in (x[token].double(), gates[expert].double())
            )
            assert scores[token, expert].item() == pytest.approx(float(first @ second) / 4, abs=1e-5)


def test_standardising_is_a_layer_norm_without_parameters(draw):
    x = 5 + 3 * draw(7, 16)
    torch.testing.assert_close(standardise(x), layer_norm(x, (16,), eps=1e-12))


def test_the_size_and_the_offset_of_inputs_and_gates_do_not_matter(draw):
    x, gates = draw(5, 16), draw(6, 16)
    expected = PhatgooseRouter(gates, top_k=3)(x)
    found = PhatgooseRouter(0.01 * gates - 3, top_k=3)(100 * x + 7)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1], atol=1e-3, rtol=1e-3)


def test_a_gate_of_zeros_scores_zero(draw):
    gates = draw(6, 16)
    gates[2] = 0
    assert not phatgoose_scores(draw(5, 16), standardise(gates))[:, 2].any()


def test_an_input_of_zeros_scores_zero(draw):
    assert not phatgoose_scores(torch.zeros(2, 16), standardise(draw(6, 16))).any()


def test_two_experts_are_kept_if_nothing_is_said(make_material, draw):
    router = ROUTERS["phatgoose"].build(ROUTERS["phatgoose"].config(), make_material(6))
    assert router(draw(3, 16))[0].shape == (3, 2)
