import pytest
import torch

from lorary.routing import RetrievalConfig
from lorary.routing.request import OUTPUT
from lorary.routing.retrieval import RetrievalRouter, retrieval_scores


def score_slowly(requests, examples, nearest):
    """The formula as it reads, in float64, one number after the other."""
    everything = [row.double() for rows in examples for row in rows]
    centre = sum(everything) / len(everything)
    scores = []
    for request in requests.double():
        own = []
        for rows in examples:
            cosines = []
            for row in rows.double():
                x, y = request - centre, row - centre
                cosines.append(float(x @ y) / (float(x.norm()) * float(y.norm())))
            best = sorted(cosines, reverse=True)[:nearest]
            own.append(sum(best) / len(best))
        scores.append(own)
    return torch.tensor(scores)


@pytest.fixture
def examples(draw):
    """Of four experts, one of them with a single example."""
    return [draw(count, 10) + 3 for count in (3, 1, 5, 2)]


@pytest.mark.parametrize("nearest", [1, 2, 3, 99])
def test_scores_are_those_of_the_formula(draw, examples, nearest):
    requests = draw(6, 10) + 3
    found = retrieval_scores(requests, examples, nearest)
    torch.testing.assert_close(found, score_slowly(requests, examples, nearest), atol=1e-5, rtol=1e-5)
    assert found.abs().max() <= 1 + 1e-6


def test_an_experts_own_examples_find_it(examples):
    for expert, rows in enumerate(examples):
        scores = retrieval_scores(rows, examples)
        assert (scores.argmax(1) == expert).all()
        torch.testing.assert_close(scores[:, expert], torch.ones(len(rows)))


def test_lengths_and_a_common_shift_do_not_matter(draw, examples):
    requests, shift = draw(6, 10), 100 * draw(10)
    expected = retrieval_scores(requests, examples)
    found = retrieval_scores(4 * requests + shift, [4 * rows + shift for rows in examples])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_a_request_like_the_mean_of_all_examples_scores_nothing(examples):
    torch.testing.assert_close(
        retrieval_scores(torch.cat(examples).mean(0, keepdim=True), examples), torch.zeros(1, 4)
    )


def test_experts_with_many_examples_are_not_preferred_by_a_mean(draw):
    near, far = draw(1, 10), -draw(1, 10)
    lone, crowd = near, torch.cat([near, *[far] * 9])
    scores = retrieval_scores(near, [lone, crowd], nearest=10)
    assert scores[0, 0] > scores[0, 1]


def test_requests_of_another_width_are_refused(draw, examples):
    with pytest.raises(
        ValueError, match=r"embeddings of requests must have 10 numbers, .* found 9: compute "
    ):
        RetrievalRouter(examples).choose({OUTPUT: draw(2, 9)})


def test_no_nearest_example_at_all_is_refused():
    with pytest.raises(ValueError, match=r"temperature must be .*; nearest must be at least 1, found 0"):
        RetrievalConfig(nearest=0, temperature=0.0)
