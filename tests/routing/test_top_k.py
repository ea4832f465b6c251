import math

import pytest
import torch

from lorary.kernels.triton_modules import is_triton_for
from lorary.routing.configs.checks import resolve_top_k
from lorary.routing.top_k import drop_unlikely, keep_top_k


@pytest.fixture(autouse=True, params=["compiled", "plain", "triton"])
def operators(request, monkeypatch):
    """Every test three times: as it comes, without compiled operators, and with Triton's, interpreted."""
    if request.param == "plain":
        monkeypatch.setattr("lorary.routing.top_k.find_operators", lambda _: None)
    if request.param == "triton":
        if not is_triton_for(torch.zeros(1)):
            pytest.skip("needs Triton's interpreter")
        monkeypatch.setenv("LORARY_KERNELS", "triton")


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("top_k", [1, 3, 6])
def test_answer_equals_a_plain_loop(draw, top_k, temperature):
    scores = draw(9, 6)
    indices, weights = keep_top_k(scores, top_k, temperature)
    for row, own_indices, own_weights in zip(scores.tolist(), indices, weights, strict=True):
        best = sorted(range(6), key=lambda expert: -row[expert])[:top_k]
        powers = [math.exp(row[expert] / temperature) for expert in best]
        assert own_indices.tolist() == best
        assert own_weights.tolist() == pytest.approx([power / sum(powers) for power in powers], rel=1e-5)


def test_weights_are_float32_and_sum_to_one(draw):
    indices, weights = keep_top_k(draw(9, 6, dtype=torch.bfloat16), 4, 0.5)
    assert indices.dtype == torch.int64 and weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(9))


def test_a_small_temperature_takes_the_best_and_a_large_one_shares_equally(draw):
    scores = draw(9, 6)
    torch.testing.assert_close(keep_top_k(scores, 3, 1e-6)[1][:, 0], torch.ones(9))
    torch.testing.assert_close(keep_top_k(scores, 3, 1e9)[1], torch.full((9, 3), 1 / 3))


def test_permuting_the_experts_permutes_the_choice(draw):
    scores, order = draw(9, 6), torch.tensor([3, 1, 5, 0, 2, 4])
    indices, weights = keep_top_k(scores, 3)
    permuted, permuted_weights = keep_top_k(scores[:, order], 3)
    assert torch.equal(order[permuted], indices)
    assert torch.equal(permuted_weights, weights)


def test_a_nan_score_is_the_worst(draw):
    scores = draw(9, 6)
    scores[:, 2] = torch.nan
    indices, weights = keep_top_k(scores, 5)
    assert not (indices == 2).any()
    assert not keep_top_k(scores, 6)[1][:, 5].any()
    assert weights.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_scores_without_one_finite_value_share_equally(value, temperature):
    _, weights = keep_top_k(torch.full((2, 6), value), 3, temperature)
    torch.testing.assert_close(weights, torch.full((2, 3), 1 / 3))


def test_an_infinite_score_takes_all(draw):
    scores = draw(2, 6)
    scores[:, 4] = torch.inf
    indices, weights = keep_top_k(scores, 3, 0.5)
    assert indices[:, 0].tolist() == [4, 4] and weights[:, 0].tolist() == [1, 1]


def test_no_tokens_give_no_choices():
    indices, weights = keep_top_k(torch.zeros(0, 6), 3)
    assert indices.shape == weights.shape == (0, 3)


def test_scores_stay_untouched(draw):
    scores = draw(4, 6)
    before = scores.clone()
    keep_top_k(scores, 3, 0.5)
    assert torch.equal(scores, before)


def test_gradients_reach_the_kept_scores(draw):
    scores = draw(4, 6).requires_grad_()
    indices, weights = keep_top_k(scores, 3)
    weights[:, 0].sum().backward()
    assert torch.equal(scores.grad != 0, torch.zeros(4, 6).scatter(1, indices, 1.0) != 0)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_base_model_takes_part_as_one_more_score(draw, temperature):
    scores = draw(9, 6)
    indices, weights = keep_top_k(scores, 3, temperature, abstain=0.5)
    plain, _ = keep_top_k(scores, 3, temperature)
    assert torch.equal(indices, plain)
    for row, own_indices, own_weights in zip(scores.tolist(), indices.tolist(), weights, strict=True):
        powers = [math.exp(score / temperature) for score in [*(row[expert] for expert in own_indices), 0.5]]
        assert own_weights.tolist() == pytest.approx([power / sum(powers) for power in powers[:-1]], rel=1e-5)


def test_a_base_model_that_scores_low_takes_nothing(draw):
    scores = draw(9, 6)
    torch.testing.assert_close(keep_top_k(scores, 3, abstain=-1e4)[1], keep_top_k(scores, 3)[1])


def test_an_infinite_temperature_gives_the_base_model_an_equal_share(draw):
    _, weights = keep_top_k(draw(9, 6), 3, math.inf, abstain=5.0)
    torch.testing.assert_close(weights, torch.full((9, 3), 0.25))


@pytest.mark.parametrize(("asked", "kept"), [(None, 4), (2, 2), (6, 6)])
def test_as_many_are_kept_as_asked_for_or_four(asked, kept):
    assert resolve_top_k(asked, 6) == kept
    assert resolve_top_k(None, 3) == 3
    assert resolve_top_k(None, 6, default=2) == 2


@pytest.mark.parametrize("abstain", [math.nan, math.inf])
def test_a_base_models_score_that_is_no_number_is_refused(draw, abstain):
    with pytest.raises(ValueError, match=f"abstain must be finite.*, found {abstain!r}"):
        keep_top_k(draw(4, 6), 2, abstain=abstain)


@pytest.mark.parametrize("top_k", [0, 7, -1])
def test_more_experts_than_there_are_is_refused(draw, top_k):
    with pytest.raises(ValueError, match=f"between 1 and the number of experts, 6, found {top_k}:"):
        keep_top_k(draw(4, 6), top_k)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_not_above_zero_is_refused(draw, temperature):
    with pytest.raises(ValueError, match=f"temperature must be above 0, found {temperature!r}"):
        keep_top_k(draw(4, 6), 2, temperature)


def test_what_unlikely_experts_lose_goes_to_the_others_in_proportion():
    weights = torch.tensor([[0.6, 0.2, 0.1, 0.005], [0.25, 0.25, 0.25, 0.25], [0.0, 0.0, 0.0, 0.0]])
    found = drop_unlikely(weights, 0.25)
    expected = torch.tensor([[0.67875, 0.22625, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0] * 4])
    torch.testing.assert_close(found, expected)
    assert torch.equal(drop_unlikely(weights, 0.0), weights)
