import pytest
import torch

from lorary.experts.factors import DTYPES, is_finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 7, 100, 4099])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_seen_anywhere(dtype, size, value):
    tensor = torch.linspace(-3, 3, size).to(dtype)
    assert is_finite(tensor)
    for place in {0, size // 2, size - 1}:
        spoilt = tensor.clone()
        spoilt[place] = value
        assert not is_finite(spoilt)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_finite(dtype):
    largest = torch.finfo(dtype).max
    assert is_finite(torch.tensor([[largest, -largest]] * 3, dtype=dtype))


def test_views_are_looked_through_where_they_look():
    tensor = torch.zeros(4, 6)
    tensor[3, 5] = torch.nan
    assert is_finite(tensor[:, :5].T) and not is_finite(tensor[1:].T)
