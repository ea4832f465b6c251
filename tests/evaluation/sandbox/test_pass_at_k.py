import math
from fractions import Fraction
from itertools import combinations

import pytest

from lorary.evaluation.sandbox import pass_at_k


@pytest.mark.parametrize("n", range(1, 9))
def test_it_is_the_share_of_choices_with_a_program_that_passed(n):
    for c in range(n + 1):
        for k in range(1, n + 1):
            choices = list(combinations(range(n), k))
            share = sum(min(choice) < c for choice in choices) / len(choices)
            assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-14)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(200, 1, 1), (10**6, 1, 1), (10**5, 3, 10**4), (5000, 2500, 100), (4, 0, 2)]
)
def test_large_numbers_neither_overflow_nor_lose_digits(n, c, k):
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k)) if n <= 10**5 else Fraction(k * c, n)
    assert pass_at_k(n, c, k) == pytest.approx(float(exact), rel=1e-12)


def test_its_mean_is_unbiased():
    """Over all outcomes of three programs that pass with probability 0.3 each, against trying two of them."""
    p, n, k = 0.3, 3, 2
    mean = sum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k(n, c, k) for c in range(n + 1))
    assert mean == pytest.approx(1 - (1 - p) ** k)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((3, 1, 4), "pass@4 needs k between 1 and the 3 programs of a problem"),
        ((3, 1, 0), "pass@0 needs k"),
        ((3, 4, 1), "4 of 3 programs cannot have passed"),
        ((3, -1, 1), "-1 of 3 programs"),
    ],
)
def test_impossible_numbers_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(*numbers)
