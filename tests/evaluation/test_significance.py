from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lorary.evaluation import Result, compare_routes
from lorary.evaluation.compare import paired_difference
from lorary.evaluation.significance import adjust_by_holm, find_detectable, two_sided_p
from lorary.evaluation.standard_errors import standard_error_of_mean


def test_a_p_value_of_one_task_is_that_of_the_paired_t_test():
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    error = standard_error_of_mean(values)
    assert two_sided_p(float(values.mean()), [error], [40]) == pytest.approx(
        stats.ttest_1samp(values, 0).pvalue
    )


def test_two_tasks_have_the_degrees_of_freedom_of_welch():
    random = np.random.default_rng(1)
    one, two = random.normal(0.5, 1, 12), random.normal(0.1, 3, 30)
    errors = [standard_error_of_mean(each) for each in (one, two)]
    mean = (one.mean() + two.mean()) / 2
    expected = stats.ttest_ind(one, -two, equal_var=False).pvalue
    assert two_sided_p(mean, errors, [12, 30]) == pytest.approx(expected)


def test_no_spread_and_one_example():
    assert two_sided_p(0.0, [0.0], [5]) == 1.0
    # Two right answers instead of two wrong ones were called a difference, with p = 0.
    assert two_sided_p(1.0, [0.0], [2]) == stats.binomtest(2, 2).pvalue == 0.5
    assert two_sided_p(1.0, [0.0, 0.0], [3, 4]) == stats.binomtest(7, 7).pvalue
    assert two_sided_p(0.1, [0.2, None], [5, 1]) is None
    assert find_detectable(None) is None and find_detectable(0.0) is None


def test_holm_multiplies_by_the_number_of_comparisons_that_are_left():
    assert adjust_by_holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert adjust_by_holm([0.9, 0.8]) == [1.0, 1.0]
    assert adjust_by_holm([]) == []
    random = np.random.default_rng(2)
    p_values = random.random(20) ** 4
    adjusted = adjust_by_holm(p_values.tolist())
    order = np.argsort(p_values)
    expected = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(20, 0, -1)), 1)
    assert [adjusted[place] for place in order] == pytest.approx(expected.tolist())


def test_a_detectable_difference_is_found_four_times_out_of_five():
    random = np.random.default_rng(3)
    error = 1 / np.sqrt(400)
    samples = random.normal(find_detectable(error), 1, (4000, 400))
    found = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert found == pytest.approx(0.8, abs=0.02)


def test_routes_without_a_difference_are_rarely_found_however_many(small_result):
    random = np.random.default_rng(4)
    trials, found = 60, 0
    for _ in range(trials):
        scores = {("t", "base", "loss"): tuple(random.normal(0, 1, 30))}
        scores |= {("t", f"r{n}", "loss"): tuple(random.normal(0, 1, 30)) for n in range(10)}
        differences = compare_routes(Result(scores), "loss", "base", num_resamples=10)
        found += any(each.finding != "none" for each in differences)
    assert found / trials < 0.15


def test_a_finding_has_a_direction():
    scores = {
        ("t", "base", "loss"): (1.0, 2.0, 3.0, 4.0, 5.0),
        ("t", "low", "loss"): (0.1, 1.0, 2.1, 3.0, 4.1),
    }
    better = paired_difference(Result(scores), "loss", "low", "base")
    worse = paired_difference(Result(scores), "loss", "base", "low")
    assert (better.finding, worse.finding) == ("better", "worse")
    assert better.p_value == better.adjusted_p == worse.p_value < 0.001
    assert better.detectable == pytest.approx(2.8 * better.standard_error, rel=1e-2)
    assert replace(better, adjusted_p=0.06).finding == "none"
    assert replace(better, adjusted_p=None).finding is None
