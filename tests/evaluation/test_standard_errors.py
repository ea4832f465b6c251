from math import sqrt

import numpy as np
import pytest

from lorary.evaluation.standard_errors import combine_standard_errors, standard_error_of_mean


def test_the_standard_error_is_the_sample_deviation_over_root_n():
    values = np.random.default_rng(0).normal(size=17)
    expected = sqrt(((values - values.mean()) ** 2).sum() / 16) / sqrt(17)
    assert standard_error_of_mean(values.tolist()) == pytest.approx(expected, rel=1e-12)


def test_errors_of_independent_means_add_in_squares():
    assert combine_standard_errors([3.0, 4.0]) == pytest.approx(2.5)


def test_the_combined_error_matches_a_simulation():
    random = np.random.default_rng(1)
    counts, deviations = (5, 20), (1.0, 3.0)
    means = [
        random.normal(0, deviation, (20_000, count)).mean(axis=1)
        for count, deviation in zip(counts, deviations, strict=True)
    ]
    errors = [deviation / sqrt(count) for count, deviation in zip(counts, deviations, strict=True)]
    assert combine_standard_errors(errors) == pytest.approx(np.mean(means, axis=0).std(), rel=0.03)


def test_one_value_has_no_known_error():
    assert standard_error_of_mean([2.0]) is None
    assert combine_standard_errors([0.1, None]) is None
