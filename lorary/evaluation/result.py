"""``Result``: the value of every example under every route, and statistics of these values.

Letters: T tasks, n examples of a task.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from lorary.errors import FormatError, suggest
from lorary.evaluation.columns import (
    Columns,
    ExamplesKey,
    Record,
    ScoreKey,
    check_columns,
    gather_columns,
    join_columns,
)
from lorary.evaluation.measures import Metric, find_metric, list_metrics
from lorary.evaluation.notebook import draw_result
from lorary.evaluation.result_file import read_result, write_result
from lorary.evaluation.standard_errors import combine_standard_errors, standard_error_of_mean
from lorary.files import escape, quote, say_count


class Overall(NamedTuple):
    """A mean over tasks, all with the same weight, and two standard errors."""

    mean: float
    standard_error: float | None
    """For these tasks, over examples: sqrt(sum of squared task errors) / T; None if a task has n = 1."""
    standard_error_across_tasks: float | None
    """For tasks like these, over tasks: deviation of the task means / sqrt(T); None if T = 1."""
    num_tasks: int


@dataclass(frozen=True, repr=False)
class Result:
    """The values of an evaluation, one per example, in columns by (task, route, metric).

    For a task and a metric, all routes have the same examples in the same order, so values of
    two routes are paired. A result is immutable; ``merge`` makes a new one.
    """

    scores: Mapping[ScoreKey, tuple[float, ...]]
    """(task, route, metric) -> one value per example."""
    headers: tuple[Mapping[str, Any], ...] = ()
    """The ``describe_run`` of each run that contributed values."""
    attachments: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that belong to the result, such as the experts that each route used."""
    metric_of: Mapping[str, Metric] = field(default_factory=dict)
    """Metric's name -> metric; optional for metrics of this version."""
    example_ids: Mapping[ExamplesKey, tuple[str, ...]] = field(default_factory=dict)
    """(task, metric) -> the id of each example, if they are known."""

    def __post_init__(self) -> None:
        columns = Columns(
            {key: tuple(float(value) for value in values) for key, values in self.scores.items()},
            {key: tuple(ids) for key, ids in self.example_ids.items()},
        )
        names = dict.fromkeys(metric for _, _, metric in columns.scores)
        object.__setattr__(self, "metric_of", {name: _find_metric(name, self.metric_of) for name in names})
        check_columns(columns)
        object.__setattr__(self, "scores", columns.scores)
        object.__setattr__(self, "example_ids", columns.example_ids)
        object.__setattr__(self, "headers", tuple(dict(header) for header in self.headers))
        object.__setattr__(self, "attachments", dict(self.attachments))

    @classmethod
    def from_records(
        cls,
        records: Iterable[Record | tuple[str, str, str, float] | tuple[str, str, str, float, str | None]],
        header: Mapping[str, Any] | None = None,
        attachments: Mapping[str, Any] | None = None,
        metrics: Iterable[Metric] = (),
    ) -> Self:
        """Gather single values into a result.

        Args:
            records: (task, route, metric, value, example id) of each example. With example ids, they may be
                in
                any order. Without ids, all routes must have the examples of a task in the same order.
            header: the description of the run, from ``describe_run``.
            attachments: JSON values that belong to the result.
            metrics: the metrics; optional for metrics of this version.

        Raises:
            ValueError: if routes have different examples, a value is not finite, or a metric is given twice.
        """
        columns = gather_columns(records)
        headers = () if header is None else (header,)
        metric_of: dict[str, Metric] = {}
        for metric in metrics:
            if metric_of.setdefault(metric.name, metric) != metric:
                raise ValueError(
                    f"metric {quote(metric.name)} must have one definition, found two different ones"
                )
        return cls(columns.scores, headers, attachments or {}, metric_of, columns.example_ids)

    def __repr__(self) -> str:
        tasks, routes = say_count(len(self.tasks), "task"), say_count(len(self.routes), "route")
        return f"<Result of {tasks} under {routes}: {', '.join(self.metrics)}>"

    def _repr_html_(self) -> str:
        return draw_result(self)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order of their first values."""
        return tuple(dict.fromkeys(task for task, _, _ in self.scores))

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes, in the order of their first values."""
        return tuple(dict.fromkeys(route for _, route, _ in self.scores))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, in the order of their first values."""
        return tuple(dict.fromkeys(metric for _, _, metric in self.scores))

    def values(self, task: str, route: str, metric: str) -> tuple[float, ...]:
        """Return the value of each example of a task.

        Raises:
            ValueError: if there are none for that task, route and metric.
        """
        try:
            return self.scores[task, route, metric]
        except KeyError:
            raise ValueError(self._explain_missing(task, route, metric)) from None

    def mean(self, task: str, route: str, metric: str) -> float:
        """Return the mean over the examples of one task."""
        return float(np.mean(self.values(task, route, metric)))

    def standard_error(self, task: str, route: str, metric: str) -> float | None:
        """Return the standard error of ``mean``: sample deviation / sqrt(n); None for one example."""
        return standard_error_of_mean(self.values(task, route, metric))

    def overall(self, route: str, metric: str, tasks: Iterable[str] | None = None) -> Overall:
        """Return the mean of a route over tasks, all with the same weight.

        Args:
            route: the route.
            metric: the metric.
            tasks: the tasks; None for all that have this route and metric. Means of routes are comparable
                only
                over the same tasks.

        Raises:
            ValueError: if there is no such task, or a task has no values.
        """
        if tasks is None:
            tasks = [task for task in self.tasks if (task, route, metric) in self.scores]
        names = tuple(tasks)
        if not names:
            raise ValueError(f"no task has a value of {quote(metric)} under route {quote(route)} to average")
        means = [self.mean(task, route, metric) for task in names]
        errors = [self.standard_error(task, route, metric) for task in names]
        return Overall(
            mean=float(np.mean(means)),
            standard_error=combine_standard_errors(errors),
            standard_error_across_tasks=standard_error_of_mean(means),
            num_tasks=len(names),
        )

    def merge(self, other: "Result") -> "Result":
        """Join two results without a common (task, route, metric); the headers of both are kept.

        Attachments are joined key by key, including nested ones. Common tasks must have the same examples. If
        both results have example ids, values are paired by them; otherwise only the numbers of examples are
        compared.

        Raises:
            ValueError: if both have the same task, route and metric; if they have different examples of a
                task, different directions of a metric, or different values of an attachment.
        """
        columns = join_columns(
            Columns(dict(self.scores), dict(self.example_ids)),
            Columns(dict(other.scores), dict(other.example_ids)),
        )
        for name in self.metric_of.keys() & other.metric_of.keys():
            _check_direction(self.metric_of[name], other.metric_of[name])
        headers = [*self.headers, *(header for header in other.headers if header not in self.headers)]
        attachments = _join(self.attachments, other.attachments, "attachments")
        metric_of = {**other.metric_of, **self.metric_of}
        return Result(columns.scores, tuple(headers), attachments, metric_of, columns.example_ids)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a JSON file, completely or not at all."""
        write_result(
            path,
            self.scores,
            self.headers,
            self.attachments,
            metrics=list(self.metric_of.values()),
            example_ids=self.example_ids,
        )

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file that ``to_json`` wrote.

        Raises:
            FormatError: if the file is not a valid result.
        """
        parts = read_result(path)
        try:
            return cls(*parts)
        except ValueError as error:
            raise FormatError(
                f"{quote(os.fspath(path))} is not a valid result: {escape(str(error), longest=200)}"
            ) from error

    def _explain_missing(self, task: str, route: str, metric: str) -> str:
        found = {"task": (task, self.tasks), "route": (route, self.routes), "metric": (metric, self.metrics)}
        for kind, (name, known) in found.items():
            if name not in known:
                return f"this result has no {kind} {quote(name)}: {suggest(name, known)}"
        return f"this result has no {quote(metric)} of task {quote(task)} under route {quote(route)}"


def _find_metric(name: str, given: Mapping[str, Metric]) -> Metric:
    """Return a metric by name: this version's, or for others the one given with the values."""
    if name not in list_metrics() and name in given:
        return given[name]
    found = find_metric(name)
    _check_direction(found, given.get(name, found))
    return found


def _check_direction(one: Metric, other: Metric) -> None:
    if one.lower_is_better != other.lower_is_better:
        better = " and ".join("lower" if each.lower_is_better else "higher" for each in (one, other))
        raise ValueError(f"metric {one.name!r} must have one direction, found that {better} is better")


def _join(left: Mapping[str, Any], right: Mapping[str, Any], where: str) -> dict[str, Any]:
    joined = dict(left)
    for key, value in right.items():
        if key not in joined or joined[key] == value:
            joined[key] = value
        elif isinstance(joined[key], Mapping) and isinstance(value, Mapping):
            joined[key] = _join(joined[key], value, f"{where}[{quote(key)}]")
        else:
            raise ValueError(f"results must agree on {where}[{quote(key)}], found different values")
    return joined
