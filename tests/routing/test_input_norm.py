import pytest
import torch

from lorary.routing.configs.checks import check_input_norm
from lorary.routing.input_norm import normalise_scores


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_become_those_of_normalised_inputs(draw, dtype):
    x = (7 * draw(5, 16)).to(dtype)
    scores, sizes = draw(5, 3), x.float().norm(dim=-1, keepdim=True)
    torch.testing.assert_close(normalise_scores(scores, x, "none"), scores)
    torch.testing.assert_close(normalise_scores(scores, x, "unit"), scores / sizes)
    torch.testing.assert_close(normalise_scores(scores, x, "rms"), 4 * scores / sizes)


def test_an_input_of_zeros_keeps_its_scores_of_zero():
    assert not normalise_scores(torch.zeros(2, 3), torch.zeros(2, 16), "rms").any()


def test_an_unknown_way_is_refused(draw):
    with pytest.raises(ValueError, match="input_norm must be one of none, unit, rms, found 'l2'"):
        normalise_scores(draw(2, 3), draw(2, 16), "l2")
    with pytest.raises(ValueError, match="input_norm must be one of none, unit, rms, found 'l2'"):
        check_input_norm("l2")
