"""Comparing routes: differences on the same examples, with their uncertainty.

Letters: T tasks, n examples of a task, S resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lorary.evaluation.measures import Metric
from lorary.evaluation.result import Result
from lorary.evaluation.significance import LEVEL, adjust_by_holm, find_detectable, two_sided_p
from lorary.evaluation.standard_errors import combine_standard_errors, standard_error_of_mean
from lorary.files import quote

NUM_RESAMPLES = 2000
# Bounds the memory of one block of resamples (32 MB of indices).
MAX_DRAWS = 4_000_000
# Preferred reference routes, in this order: all experts with equal weights, no expert.
REFERENCES = ("uniform", "base")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The difference between two routes on the same examples; all tasks have the same weight."""

    metric: Metric
    """The compared metric."""
    route: str
    """The compared route."""
    against: str
    """The reference route."""
    mean: float
    """``route`` minus ``against``: mean over tasks of the mean over examples."""
    standard_error: float | None
    """Standard error over paired examples, for these tasks: sqrt(sum of squared task errors) / T; None if a
    task has n = 1."""
    low: float | None
    """Lower end of the bootstrap's 95% interval; None if a task has n = 1, which shows no spread."""
    high: float | None
    """Upper end of that interval, or None."""
    num_tasks: int
    """Number of tasks that both routes have."""
    num_examples: int
    """Number of examples of all these tasks."""
    num_better: int
    """Number of tasks on which ``route`` has the better average."""
    num_worse: int
    """Number of tasks on which it has the worse average."""
    p_value: float | None = None
    """Two-sided p-value, see ``two_sided_p``; None if a task has n = 1."""
    adjusted_p: float | None = None
    """The same after Holm's correction for all comparisons that were made with it."""
    detectable: float | None = None
    """The smallest difference that this number of examples shows with a probability of 80% (at 5%,
    one comparison)."""

    @property
    def finding(self) -> Literal["better", "worse", "none"] | None:
        """What is shown at 5% after Holm's correction; None if a task has n = 1."""
        if self.adjusted_p is None:
            return None
        if self.adjusted_p >= LEVEL:
            return "none"
        return "better" if (self.mean < 0) == self.metric.lower_is_better else "worse"

    @property
    def num_same(self) -> int:
        """Number of tasks on which both have the same average."""
        return self.num_tasks - self.num_better - self.num_worse

    @property
    def is_clear_gain(self) -> bool:
        """Whether the whole interval is on the better side of zero."""
        if self.low is None or self.high is None:
            return False
        return self.high < 0 if self.metric.lower_is_better else self.low > 0


def paired_difference(
    result: Result,
    metric: str,
    route: str,
    against: str,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare two routes over the tasks that both have.

    Both routes were measured on the same examples, so the uncertainty depends on the spread of the
    differences. It is far smaller than the spread of the values if hard examples are hard for both routes.
    The interval (2.5th to 97.5th percentile) comes from resampling examples within each task, so it is valid
    for these tasks and not for others like them. With very few examples per task it is somewhat too narrow.

    Args:
        result: the result.
        metric: the metric.
        route: the compared route.
        against: the reference route.
        num_resamples: S.
        seed: of the resampling.

    Raises:
        ValueError: if no task has both routes.

    Source: paired stratified bootstrap, Efron and Tibshirani (1993).
    """
    differences = _differences_by_task(result, metric, route, against)
    means = np.array([values.mean() for values in differences])
    low, high = _bootstrap_interval(differences, num_resamples, seed)
    compared = result.metric_of[metric]
    sign = -1 if compared.lower_is_better else 1
    errors = [standard_error_of_mean(values) for values in differences]
    error = combine_standard_errors(errors)
    p_value = two_sided_p(float(means.mean()), errors, [len(values) for values in differences])
    return Difference(
        metric=compared,
        route=route,
        against=against,
        mean=float(means.mean()),
        standard_error=error,
        low=low,
        high=high,
        num_tasks=len(differences),
        num_examples=sum(len(values) for values in differences),
        num_better=int((sign * means > 0).sum()),
        num_worse=int((sign * means < 0).sum()),
        p_value=p_value,
        adjusted_p=p_value,
        detectable=find_detectable(error),
    )


def compare_routes(
    result: Result, metric: str, against: str, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Compare every route that has a task of the reference with it, in the order of ``result.routes``.

    Their p-values are corrected for the number of routes.
    """
    tasks = {task for task, route, name in result.scores if (route, name) == (against, metric)}
    routes = {
        route for task, route, name in result.scores if name == metric and task in tasks and route != against
    }
    return correct_differences(
        [
            paired_difference(result, metric, route, against, num_resamples=num_resamples, seed=seed)
            for route in result.routes
            if route in routes
        ]
    )


def correct_differences(differences: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values of differences for their number."""
    adjusted = adjust_by_holm([difference.p_value for difference in differences])
    return [replace(each, adjusted_p=p) for each, p in zip(differences, adjusted, strict=True)]


def choose_reference(result: Result, metric: str) -> str:
    """Choose the reference route: the first of ``REFERENCES`` in the result, otherwise the first route.

    Raises:
        ValueError: if the result has no such metric.
    """
    measured = [route for route in result.routes if any(key[1:] == (route, metric) for key in result.scores)]
    if not measured:
        raise ValueError(f"this result has no metric {quote(metric)}, it has {quote(list(result.metrics))}")
    return next((route for route in REFERENCES if route in measured), measured[0])


def _differences_by_task(result: Result, metric: str, route: str, against: str) -> list[NDArray[np.float64]]:
    shared = [
        task
        for task in result.tasks
        if (task, route, metric) in result.scores and (task, against, metric) in result.scores
    ]
    if not shared:
        raise ValueError(
            f"no task has {quote(metric)} under both {quote(route)} and {quote(against)}: this result has "
            f"the routes {quote(list(result.routes))} and the metrics {quote(list(result.metrics))}"
        )
    return [
        np.asarray(result.values(task, route, metric)) - np.asarray(result.values(task, against, metric))
        for task in shared
    ]


def _bootstrap_interval(
    differences: Sequence[NDArray[np.float64]], num_resamples: int, seed: int
) -> tuple[float, float] | tuple[None, None]:
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, found {num_resamples!r}")
    if min(len(values) for values in differences) < 2:
        return None, None
    low, high = np.percentile(_resample_mean(differences, num_resamples, seed), [2.5, 97.5])
    return float(low), float(high)


def _resample_mean(
    differences: Sequence[NDArray[np.float64]], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    total = np.zeros(num_resamples)  # [S]
    for values in differences:
        rows = max(1, MAX_DRAWS // len(values))
        for start in range(0, num_resamples, rows):
            block = total[start : start + rows]
            draws = random.integers(len(values), size=(len(block), len(values)))  # [rows, n]
            block += values[draws].mean(axis=1)
    return total / len(differences)
