import pytest
import torch

from lorary.routing.spectr import SpectrRouter, compute_norm_roots, spectr_scores


@pytest.fixture
def factors(draw):
    """Six experts of rank 3 on an oblong layer."""
    return draw(6, 3, 16), draw(6, 10, 3)


def test_scores_are_the_lengths_of_what_dense_experts_add(draw, factors):
    a, b = factors
    x = draw(5, 16)
    scores = spectr_scores(x, a, compute_norm_roots(b))
    for token in range(5):
        for expert in range(6):
            expected = (b[expert].double() @ a[expert].double() @ x[token].double()).norm()
            assert scores[token, expert].item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "shape", [(2, 7, 3), (2, 3, 3), (2, 3, 8)], ids=["tall", "square", "rank above width"]
)
def test_roots_measure_as_the_projections_do(draw, shape):
    b, z = draw(*shape), draw(2, 4, shape[-1])
    expected = (z @ b.mT).norm(dim=-1)
    torch.testing.assert_close((z @ compute_norm_roots(b)).norm(dim=-1), expected, atol=1e-5, rtol=1e-5)


def test_unit_and_rms_inputs_score_as_if_divided_beforehand(draw, factors):
    a, b = factors
    x, roots = 7 * draw(5, 16), compute_norm_roots(b)
    size = x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(spectr_scores(x, a, roots, "unit"), spectr_scores(x / size, a, roots))
    torch.testing.assert_close(spectr_scores(x, a, roots, "rms"), spectr_scores(4 * x / size, a, roots))


def test_how_an_expert_is_factored_does_not_matter(draw, factors):
    a, b = factors
    x, mixing = draw(5, 16), draw(6, 3, 3)
    other = spectr_scores(x, torch.linalg.inv(mixing) @ a, compute_norm_roots(b @ mixing))
    torch.testing.assert_close(other, spectr_scores(x, a, compute_norm_roots(b)), atol=1e-3, rtol=1e-3)


def test_padded_ranks_change_nothing(draw, factors):
    a, b = factors
    x = draw(5, 16)
    padded_a = torch.cat([a, torch.zeros(6, 2, 16)], 1)
    padded_b = torch.cat([b, torch.zeros(6, 10, 2)], 2)
    torch.testing.assert_close(
        spectr_scores(x, padded_a, compute_norm_roots(padded_b)), spectr_scores(x, a, compute_norm_roots(b))
    )


def test_an_expert_of_zeros_scores_zero_and_comes_last(draw, factors):
    a, b = factors
    b[2] = 0
    x = draw(5, 16)
    assert not spectr_scores(x, a, compute_norm_roots(b))[:, 2].any()
    indices, _ = SpectrRouter(a, b, top_k=6)(x)
    assert (indices[:, -1] == 2).all()


def test_bfloat16_lengths_stay_close_where_factors_nearly_cancel(draw):
    a, b = draw(1, 2, 16), draw(1, 10, 1).repeat(1, 1, 2) + 1e-3 * draw(1, 10, 2)
    a[:, 1] = -a[:, 0]
    x = draw(5, 16)
    found = spectr_scores(x.bfloat16(), a.bfloat16(), compute_norm_roots(b).bfloat16())
    size = (x @ a[0].T).norm(dim=-1, keepdim=True) * b.norm()
    assert ((found - spectr_scores(x, a, compute_norm_roots(b))) / size).abs().max() < 0.01


def test_the_factors_are_not_copied(factors):
    a, b = factors
    router = SpectrRouter(a, b, top_k=2)
    assert router.a.data_ptr() == a.data_ptr()
    assert list(router.state_dict()) == ["roots"]


def test_weights_that_are_not_finite_are_refused(factors):
    _, b = factors
    b[4, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="finite, found NaN or infinity in that of expert 4"):
        compute_norm_roots(b)
