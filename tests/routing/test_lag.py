import pytest
import torch

from lorary.routing import LagConfig
from lorary.routing.arrow import ArrowRouter, arrow_scores
from lorary.routing.lag import LagRouter
from lorary.routing.spectr import SpectrRouter, compute_norm_roots, spectr_scores


@pytest.fixture
def factors(draw):
    return draw(6, 3, 16), draw(6, 10, 3)


def test_spectr_ranks_what_arrow_proposes(draw, prototypes, factors):
    x = draw(9, 16)
    router = LagRouter(prototypes, *factors, top_k=2, candidates=3, temperature=0.5)
    indices, weights = router(x)
    scores = spectr_scores(x, factors[0], compute_norm_roots(factors[1]))
    for token, proposed in enumerate(arrow_scores(x, prototypes).topk(3).indices.tolist()):
        ranked = sorted(proposed, key=lambda expert: -scores[token, expert])[:2]
        assert indices[token].tolist() == ranked
        expected = torch.softmax(scores[token, ranked] / 0.5, 0)
        torch.testing.assert_close(weights[token], expected)


def test_with_all_as_candidates_it_is_spectr(draw, prototypes, factors):
    x = draw(9, 16)
    found = LagRouter(prototypes, *factors, top_k=3, candidates=6, input_norm="rms", abstain=0.1)(x)
    expected = SpectrRouter(*factors, top_k=3, input_norm="rms", abstain=0.1)(x)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


def test_with_no_candidate_to_spare_arrow_chooses(draw, prototypes, factors):
    x = draw(9, 16)
    found, _ = LagRouter(prototypes, *factors, top_k=2, candidates=2)(x)
    expected, _ = ArrowRouter(prototypes, top_k=2)(x)
    assert torch.equal(found.sort(-1).values, expected.sort(-1).values)


@pytest.mark.parametrize(
    ("options", "num_experts", "resolved"),
    [
        ({}, 43, (20, 4)),
        ({}, 3, (3, 3)),
        ({"top_k": 30}, 43, (30, 30)),
        ({"candidates": 2}, 43, (2, 2)),
        ({"candidates": 9, "top_k": 5}, 43, (9, 5)),
    ],
)
def test_what_is_not_given_fits_what_is(options, num_experts, resolved):
    assert LagConfig(**options).resolve(num_experts) == resolved


def test_fewer_candidates_than_are_kept_are_refused(prototypes, factors):
    with pytest.raises(ValueError, match="candidates must be at least top_k, and at least 1, found 2"):
        LagConfig(top_k=3, candidates=2)
    with pytest.raises(ValueError, match="found 0"):
        LagConfig(candidates=0)
    with pytest.raises(ValueError, match="between top_k, 3, and the number of experts, 6, found 2"):
        LagRouter(prototypes, *factors, top_k=3, candidates=2)


def test_more_candidates_than_experts_are_refused():
    with pytest.raises(ValueError, match="candidates must be at most the number of experts, 6, found 7"):
        LagConfig(candidates=7).check(list("abcdef"))
