"""``Result``: the number of every example under every route, and what follows from them.

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
from lorary.evaluation.result_file import read_result, write_result
from lorary.evaluation.standard_errors import combine_standard_errors, standard_error_of_mean
from lorary.files import escape, quote


class Overall(NamedTuple):
    """A mean over tasks, each task counting the same, and how sure it is in two senses."""

    mean: float
    standard_error: float | None
    """Over examples, for these tasks: sqrt(sum of squared task errors) / T; None if a task has n = 1."""
    standard_error_across_tasks: float | None
    """Over tasks, as a sample of others like them: deviation of their means / sqrt(T); None if T = 1."""
    num_tasks: int


@dataclass(frozen=True)
class Result:
    """The numbers of an evaluation, one per example, in columns by (task, route, metric).

    The values of a column stand in the order of the task's examples, so those of two routes are
    paired: for one task and metric every route holds the same examples in the same order.
    Nothing in a result changes after it is made; ``merge`` makes a new one.
    """

    scores: Mapping[ScoreKey, tuple[float, ...]]
    """(task, route, metric) -> one value per example."""
    headers: tuple[Mapping[str, Any], ...] = ()
    """One ``describe_run`` per run that gave numbers."""
    attachments: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that belong to the numbers, such as which experts each route used."""
    metric_of: Mapping[str, Metric] = field(default_factory=dict)
    """Metric's name -> what it is, and which way is better; may be left out for metrics of this version."""
    example_ids: Mapping[ExamplesKey, tuple[str, ...]] = field(default_factory=dict)
    """(task, metric) -> the id of each example, where they are known."""

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
        """Gather single numbers into a result.

        Args:
            records: (task, route, metric, value, example id) of each example. Where examples have ids, the
                routes may have measured them in any order; else, within a task, route and metric, they stand
                in the order of the examples.
            header: what they were measured with, from ``describe_run``.
            attachments: JSON values that belong to them.
            metrics: what the metrics are; may be left out for those of this version.
        """
        columns = gather_columns(records)
        headers = () if header is None else (header,)
        metric_of: dict[str, Metric] = {}
        for metric in metrics:
            if metric_of.setdefault(metric.name, metric) != metric:
                raise ValueError(f"metric {quote(metric.name)} is given twice, with different meanings")
        return cls(columns.scores, headers, attachments or {}, metric_of, columns.example_ids)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order in which they came."""
        return tuple(dict.fromkeys(task for task, _, _ in self.scores))

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes, in the order in which they came."""
        return tuple(dict.fromkeys(route for _, route, _ in self.scores))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, in the order in which they came."""
        return tuple(dict.fromkeys(metric for _, _, metric in self.scores))

    def values(self, task: str, route: str, metric: str) -> tuple[float, ...]:
        """Give the value of each example of a task.

        Raises:
            ValueError: if there are none for that task, route and metric.
        """
        try:
            return self.scores[task, route, metric]
        except KeyError:
            raise ValueError(self._explain_missing(task, route, metric)) from None

    def mean(self, task: str, route: str, metric: str) -> float:
        """Average over the examples of one task."""
        return float(np.mean(self.values(task, route, metric)))

    def standard_error(self, task: str, route: str, metric: str) -> float | None:
        """Give the standard error of ``mean``: sample deviation / sqrt(n); None for one example."""
        return standard_error_of_mean(self.values(task, route, metric))

    def overall(self, route: str, metric: str, tasks: Iterable[str] | None = None) -> Overall:
        """Average a route over tasks, each task counting the same.

        Args:
            route: the route.
            metric: the metric.
            tasks: which tasks; None takes all that have this route and metric. Routes compare
                only over the same tasks.
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
        """Join two results that share no (task, route, metric); the headers of both are kept.

        Attachments are joined key by key, nested ones too. The two must have been measured on the
        same examples wherever they share a task. Where both know the examples' ids, these say what is
        paired with what; else only the number can be checked.

        Raises:
            ValueError: if both hold the same task, route and metric, or different examples of one task, or
                a metric with different directions, or different values under the same attachment.
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
        """Write everything to one JSON file, whole or not at all."""
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
        """Read what ``to_json`` wrote.

        Raises:
            FormatError: if the file is not a sound result.
        """
        parts = read_result(path)
        try:
            return cls(*parts)
        except ValueError as error:
            raise FormatError(
                f"{quote(os.fspath(path))} is no sound result: {escape(str(error), longest=200)}"
            ) from error

    def _explain_missing(self, task: str, route: str, metric: str) -> str:
        found = {"task": (task, self.tasks), "route": (route, self.routes), "metric": (metric, self.metrics)}
        for kind, (name, known) in found.items():
            if name not in known:
                return f"this result has no {kind} {quote(name)}: {suggest(name, known)}"
        return f"this result has no {quote(metric)} of task {quote(task)} under route {quote(route)}"


def _find_metric(name: str, given: Mapping[str, Metric]) -> Metric:
    """Find what a metric is: this version's own, or for others what was given with the numbers."""
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
            raise ValueError(f"both results have a value of their own under {where}[{quote(key)}]")
    return joined
