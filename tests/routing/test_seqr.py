import pytest
import torch

from lorary.routing.seqr import SeqrRouter, find_shared_a
from lorary.routing.spectr import SpectrRouter


@pytest.fixture
def norms(draw):
    """Means and deviations of six experts."""
    return 4 + draw(6).abs(), 0.5 + draw(6).abs()


def score_naively(x, a, b, means, deviations):
    """Dense weight changes, one token and expert after the other, in float64."""
    lengths = [
        [(u.double() @ d.double() @ row.double()).norm() for d, u in zip(a, b, strict=True)] for row in x
    ]
    return (torch.tensor(lengths) - means) / deviations


@pytest.mark.parametrize("is_shared", [True, False], ids=["one A", "an A each"])
def test_a_token_uses_the_expert_of_the_largest_standardised_dense_output(draw, norms, is_shared):
    a = draw(1, 3, 16).expand(6, -1, -1).clone() if is_shared else draw(6, 3, 16)
    b, x = draw(6, 10, 3), draw(20, 16)
    router = SeqrRouter(a, b, norms)
    assert len(router.a) == (1 if is_shared else 6)
    indices, weights = router(x)
    expected = score_naively(x, a, b, *norms).argmax(1)
    assert torch.equal(indices[:, 0], expected) and len(expected.unique()) > 2
    assert torch.equal(weights, torch.ones(20, 1))


def test_one_a_gives_the_same_lengths_as_an_a_each(draw, norms):
    a, b, x = draw(1, 3, 16).expand(6, -1, -1).clone(), draw(6, 10, 3), draw(9, 16)
    shared = SeqrRouter(a, b, norms, top_k=6)
    apart = SeqrRouter(a, b, norms, top_k=6)
    apart.a = a
    for found, expected in zip(shared(x), apart(x), strict=True):
        torch.testing.assert_close(found, expected)


def test_experts_of_lower_ranks_and_without_the_layer_may_share_an_a(draw):
    a, b = draw(1, 3, 16).expand(4, -1, -1).clone(), draw(4, 10, 3)
    a[0, 2:], b[0, :, 2:] = 0, 0
    a[3], b[3] = 0, 0
    assert torch.equal(find_shared_a(a, b), a[1])
    b[3] = 1.0  # with columns of its own, zeros would become the others' rows
    assert find_shared_a(a, b) is None


def test_without_statistics_it_is_spectr(draw):
    a, b, x = draw(6, 3, 16), draw(6, 10, 3), draw(9, 16)
    for norms in (None, (torch.zeros(6), torch.zeros(6))):
        found, expected = SeqrRouter(a, b, norms, top_k=2)(x), SpectrRouter(a, b, top_k=2)(x)
        assert torch.equal(found[0], expected[0])
        torch.testing.assert_close(found[1], expected[1])


def test_an_expert_that_adds_nothing_comes_last(draw, norms):
    a, b = draw(6, 3, 16), draw(6, 10, 3)
    b[2] = 0
    means, deviations = norms
    means[2], deviations[2] = 0, 0
    indices, weights = SeqrRouter(a, b, (means, deviations), top_k=6)(0.01 * draw(5, 16))
    assert (indices[:, -1] == 2).all() and not weights[:, -1].any()


def test_an_expert_of_constant_length_has_no_huge_scores(draw, norms):
    means, deviations = norms
    deviations[1] = 0
    router = SeqrRouter(draw(6, 3, 16), draw(6, 10, 3), (means, deviations), top_k=6)
    assert router(draw(9, 16))[1].isfinite().all()
