from math import sqrt

import numpy as np
import pytest

from lorary.evaluation import Result, choose_reference, compare_routes
from lorary.evaluation.columns import Record
from lorary.evaluation.compare import paired_difference


def test_a_difference_is_the_mean_over_tasks_of_paired_differences(small_result):
    found = paired_difference(small_result, "loss", "arrow", "base")
    # dates: -2, -2; morse: -3, -2, -4.
    assert found.mean == pytest.approx((-2 - 3) / 2)
    assert found.standard_error == pytest.approx(sqrt(0 + 1 / 3) / 2)
    assert (found.num_tasks, found.num_examples) == (2, 5)
    assert (found.num_better, found.num_worse, found.num_same) == (2, 0, 0)


def test_the_bootstrap_agrees_with_the_analytic_error(noisy_result):
    found = paired_difference(noisy_result, "loss", "arrow", "base", num_resamples=4000)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(found.standard_error, rel=0.08)
    assert (found.high + found.low) / 2 == pytest.approx(found.mean, abs=0.2 * found.standard_error)


def test_the_interval_holds_the_true_difference_about_95_times_in_100():
    random = np.random.default_rng(7)
    inside = 0
    for trial in range(200):
        scores = {}
        for task, count in {"dates": 30, "morse": 40}.items():
            hardness = random.normal(0, 3, count)
            scores[task, "base", "loss"] = hardness
            scores[task, "arrow", "loss"] = hardness - 0.5 + random.normal(0, 1, count)
        found = paired_difference(Result(scores), "loss", "arrow", "base", num_resamples=400, seed=trial)
        inside += found.low <= -0.5 <= found.high
    # Binomial(200, .95) stays within these bounds but for one time in a thousand.
    assert 179 <= inside <= 199


def test_pairing_sees_what_separate_errors_hide(noisy_result):
    found = paired_difference(noisy_result, "loss", "arrow", "base")
    apart = noisy_result.overall("arrow", "loss").standard_error
    assert found.standard_error < apart / 3


def test_swapping_the_routes_swaps_the_sign(noisy_result):
    there = paired_difference(noisy_result, "loss", "arrow", "base")
    back = paired_difference(noisy_result, "loss", "base", "arrow")
    assert back.mean == pytest.approx(-there.mean)
    assert (back.num_better, back.num_worse) == (there.num_worse, there.num_better)
    assert back.low == pytest.approx(-there.high)


def test_the_same_seed_gives_the_same_interval(noisy_result):
    first = paired_difference(noisy_result, "loss", "arrow", "base", seed=5)
    assert paired_difference(noisy_result, "loss", "arrow", "base", seed=5) == first
    assert paired_difference(noisy_result, "loss", "arrow", "base", seed=6).low != first.low


def test_drawing_in_small_blocks_gives_an_interval_as_wide(noisy_result, monkeypatch):
    whole = paired_difference(noisy_result, "loss", "arrow", "base")
    monkeypatch.setattr("lorary.evaluation.compare.MAX_DRAWS", 500)
    blocks = paired_difference(noisy_result, "loss", "arrow", "base")
    assert blocks.high - blocks.low == pytest.approx(whole.high - whole.low, rel=0.1)


@pytest.mark.parametrize(("metric", "sign"), [("loss", -1), ("exact_match", 1)])
def test_a_clear_gain_is_a_whole_interval_on_the_better_side(metric, sign):
    base = [0.0, 0.1, 0.2, 0.3]
    scores = {
        ("dates", "base", metric): base,
        ("dates", "better", metric): [
            value + sign * gain for value, gain in zip(base, (1, 2, 1, 2), strict=True)
        ],
        ("dates", "unclear", metric): [
            value + gain for value, gain in zip(base, (1, -1, 1, -1.1), strict=True)
        ],
    }
    gains = {found.route: found.is_clear_gain for found in compare_routes(Result(scores), metric, "base")}
    assert gains == {"better": True, "unclear": False}


def test_every_other_route_is_compared_in_order(small_result):
    assert [found.route for found in compare_routes(small_result, "loss", "base")] == ["arrow", "oracle"]


def test_only_shared_tasks_count():
    scores = {
        ("dates", "base", "loss"): (1.0, 2.0),
        ("dates", "arrow", "loss"): (0.0, 1.0),
        ("morse", "base", "loss"): (9.0, 9.0),
    }
    found = paired_difference(Result(scores), "loss", "arrow", "base")
    assert (found.mean, found.num_tasks) == (-1.0, 1)


def test_one_example_shows_no_spread_and_proves_nothing():
    scores = {("dates", "base", "loss"): (2.0,), ("dates", "arrow", "loss"): (1.0,)}
    found = paired_difference(Result(scores), "loss", "arrow", "base")
    assert found.mean == -1.0
    assert (found.standard_error, found.low, found.high, found.is_clear_gain) == (None, None, None, False)


def test_routes_without_a_common_task_are_refused(small_result):
    with pytest.raises(
        ValueError, match="no task has 'loss' under both 'uniform' and 'base': this result has"
    ):
        paired_difference(small_result, "loss", "uniform", "base")


def test_no_resamples_are_refused(small_result):
    with pytest.raises(ValueError, match="num_resamples must be at least 1, found 0"):
        paired_difference(small_result, "loss", "arrow", "base", num_resamples=0)


@pytest.mark.parametrize(
    ("routes", "reference"),
    [
        (("oracle", "base", "arrow", "uniform"), "uniform"),
        (("oracle", "arrow", "base"), "base"),
        (("oracle", "arrow"), "oracle"),
    ],
)
def test_routes_are_held_against_uniform_or_base_or_the_first(routes, reference):
    result = Result({("dates", route, "loss"): (1.0,) for route in routes})
    assert choose_reference(result, "loss") == reference
    with pytest.raises(ValueError, match=r"this result has no metric 'rouge_l', it has \['loss'\]"):
        choose_reference(result, "rouge_l")


def test_a_route_that_shares_no_task_is_passed_over():
    result = Result({("dates", "base", "loss"): (1.0,), ("morse", "arrow", "loss"): (1.0,)})
    assert compare_routes(result, "loss", "base") == []


def test_examples_are_paired_by_their_ids():
    values = {"x": 1.0, "y": 5.0, "z": -2.0}
    base = Result.from_records([Record("dates", "base", "loss", v, e) for e, v in values.items()])
    shifted = [Record("dates", "arrow", "loss", values[e] - 1, e) for e in ("z", "x", "y")]
    found = paired_difference(base.merge(Result.from_records(shifted)), "loss", "arrow", "base")
    assert (found.mean, found.standard_error) == (pytest.approx(-1.0), pytest.approx(0.0, abs=1e-12))
