import pytest
import torch

from lorary.lowrank import weighted_sum


def test_the_sum_equals_the_dense_one_for_mixed_ranks(draw):
    pairs = [(draw(rank, 12, dtype=torch.float64), draw(7, rank, dtype=torch.float64)) for rank in (2, 5, 1)]
    a, b = weighted_sum(pairs, [0.5, -2.0, 0.0])
    (a_1, b_1), (a_2, b_2), _ = pairs
    assert a.shape == (8, 12) and b.shape == (7, 8)
    torch.testing.assert_close(b @ a, 0.5 * b_1 @ a_1 - 2 * b_2 @ a_2)


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((torch.bfloat16, torch.float16), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
    ],
)
def test_sums_run_in_float32_or_more(draw, dtypes, expected):
    a, b = weighted_sum([(draw(2, 6, dtype=dtype), draw(5, 2, dtype=dtype)) for dtype in dtypes], [1, 1])
    assert a.dtype == b.dtype == expected


def test_pairs_that_do_not_fit_are_refused(draw):
    with pytest.raises(ValueError, match="one weight for each, found 1 and 2"):
        weighted_sum([(draw(2, 6), draw(5, 2))], [1, 1])
    with pytest.raises(ValueError, match="found 0 and 0"):
        weighted_sum([], [])
    with pytest.raises(ValueError, match=r"agree on I and O, found a \[2, 6\] and b \[5, 2\], a \[2, 7\]"):
        weighted_sum([(draw(2, 6), draw(5, 2)), (draw(2, 7), draw(5, 2))], [1, 1])
