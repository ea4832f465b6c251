import pytest
import torch
from torch.nn.functional import cosine_similarity

from lorary.routing import ArrowConfig
from lorary.routing.arrow import ArrowRouter, arrow_scores
from lorary.routing.top_k import keep_top_k


def test_scores_equal_a_plain_loop(draw, prototypes):
    x = draw(5, 16)
    scores = arrow_scores(x, prototypes)
    for token in range(5):
        for expert in range(6):
            assert scores[token, expert].item() == pytest.approx(
                abs(float(x[token] @ prototypes[expert])), abs=1e-6
            )


def test_unit_inputs_score_the_absolute_cosine(draw, prototypes):
    x = 7 * draw(5, 16)
    expected = cosine_similarity(x[:, None], prototypes[None], dim=-1).abs()
    torch.testing.assert_close(arrow_scores(x, prototypes, input_norm="unit"), expected)


def test_rms_inputs_score_as_after_a_normalisation_layer(draw, prototypes):
    x = 7 * draw(5, 16)
    expected = arrow_scores(torch.nn.functional.rms_norm(x, (16,), eps=0.0), prototypes)
    torch.testing.assert_close(arrow_scores(x, prototypes, input_norm="rms"), expected)


def test_gains_multiply_the_scores(draw, prototypes):
    x, gains = draw(5, 16), draw(6).abs()
    torch.testing.assert_close(arrow_scores(x, prototypes, gains), arrow_scores(x, prototypes) * gains)


def test_router_weighs_by_gain_as_the_scores_do(draw, prototypes):
    x, gains = draw(5, 16), draw(6).abs()
    router = ArrowRouter(prototypes, gains, top_k=3, temperature=0.5, input_norm="unit", weigh_by_gain=True)
    indices, weights = router(x)
    expected = keep_top_k(arrow_scores(x, prototypes, gains, "unit"), 3, 0.5)
    assert torch.equal(indices, expected[0])
    torch.testing.assert_close(weights, expected[1])


def test_the_sign_of_a_prototype_does_not_matter(draw, prototypes):
    x, signs = draw(5, 16), torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, 1.0])
    assert torch.equal(arrow_scores(x, prototypes * signs[:, None]), arrow_scores(x, prototypes))


@pytest.mark.parametrize("input_norm", ["unit", "rms"])
def test_the_size_of_a_normalised_input_does_not_matter(draw, prototypes, input_norm):
    x = draw(5, 16)
    small, large = (arrow_scores(x * size, prototypes, input_norm=input_norm) for size in (1e-6, 1e6))
    torch.testing.assert_close(small, large)


@pytest.mark.parametrize("input_norm", ["none", "unit", "rms"])
def test_an_input_of_zeros_scores_zero(prototypes, input_norm):
    assert not arrow_scores(torch.zeros(2, 16), prototypes, input_norm=input_norm).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_are_float32_in_every_dtype(draw, prototypes, dtype):
    x = draw(5, 16)
    scores = arrow_scores(x.to(dtype), prototypes)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, arrow_scores(x, prototypes), rtol=0.02, atol=0.02)


def test_an_expert_without_the_layer_comes_last(draw, prototypes):
    prototypes[2] = 0
    indices, _ = ArrowRouter(prototypes, top_k=6)(draw(5, 16))
    assert (indices[:, -1] == 2).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be at least 1, found 0"),
        ({"temperature": 0.0}, "temperature must be above 0, found 0.0"),
        ({"input_norm": "l2"}, "input_norm must be one of none, unit, rms, found 'l2'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ArrowConfig(**options)


def test_all_faults_of_a_configuration_are_reported_at_once():
    with pytest.raises(ValueError, match=r"top_k .*; temperature .*; input_norm"):
        ArrowConfig(top_k=-2, temperature=-1.0, input_norm="l2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 7}, "number of experts, 6, found 7"),
        ({"temperature": -1.0}, "temperature must be above 0"),
        ({"input_norm": "l2"}, "input_norm must be one of"),
        ({"weigh_by_gain": True}, "weigh_by_gain needs the experts' gains"),
    ],
)
def test_a_router_that_cannot_work_is_refused_when_built(prototypes, options, message):
    with pytest.raises(ValueError, match=message):
        ArrowRouter(prototypes, **options)


def test_shapes_that_disagree_are_refused(prototypes):
    with pytest.raises(ValueError, match=r"found \[6, 16\] and \[5\]"):
        ArrowRouter(prototypes, torch.ones(5))
    with pytest.raises(ValueError, match="input_norm must be one of none, unit, rms, found 'l2'"):
        arrow_scores(torch.ones(2, 16), prototypes, input_norm="l2")
