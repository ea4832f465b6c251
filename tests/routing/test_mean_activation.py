import pytest
import torch

from lorary.routing.mean_activation import MeanActivationRouter, mean_activation_scores


def test_scores_equal_a_plain_loop(draw, prototypes):
    x = draw(5, 16)
    scores = mean_activation_scores(x, prototypes)
    for token in range(5):
        for expert in range(6):
            assert scores[token, expert].item() == pytest.approx(
                float(x[token] @ prototypes[expert]) / 4, abs=1e-6
            )


def test_only_the_direction_of_a_mean_counts(draw, prototypes):
    x, sizes = draw(5, 16), torch.tensor([1e-3, 1.0, 5.0, 1e3, 2.0, 0.1])
    expected = MeanActivationRouter(prototypes, top_k=3)(x)
    found = MeanActivationRouter(prototypes * sizes[:, None], top_k=3)(x)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


def test_a_token_goes_to_the_expert_whose_mean_it_is(prototypes):
    indices, _ = MeanActivationRouter(prototypes, top_k=1)(9 * prototypes)
    assert indices.squeeze(-1).tolist() == list(range(6))


def test_an_expert_without_a_mean_scores_zero(draw, prototypes):
    prototypes[2] = 0
    router = MeanActivationRouter(prototypes, top_k=6)
    assert not mean_activation_scores(draw(5, 16), router.means)[:, 2].any()
