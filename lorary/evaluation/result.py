"""``Result``: the number of every example under every route, and what follows from them.

Letters: T tasks, n examples of a task.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple, Self

import numpy as np

from lorary.errors import FormatError, suggest
from lorary.evaluation.metrics import find_metric
from lorary.evaluation.result_file import ScoreKey, read_result, write_result
from lorary.evaluation.standard_errors import combine_standard_errors, standard_error_of_mean
from lorary.files import quote, shorten

ROUTE_ORDER = ("base", "random", "uniform", "multi-task", "arrow")
LAST_ROUTE = "oracle"


class Record(NamedTuple):
    """What one example earned under one route by one metric."""

    task: str
    route: str
    metric: str
    value: float


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

    def __post_init__(self) -> None:
        columns = {key: tuple(float(value) for value in values) for key, values in self.scores.items()}
        for key, values in columns.items():
            _check_column(key, values)
        _check_pairing(columns)
        object.__setattr__(self, "scores", columns)
        object.__setattr__(self, "headers", tuple(dict(header) for header in self.headers))
        object.__setattr__(self, "attachments", dict(self.attachments))

    @classmethod
    def from_records(
        cls,
        records: Iterable[Record | tuple[str, str, str, float]],
        header: Mapping[str, Any] | None = None,
        attachments: Mapping[str, Any] | None = None,
    ) -> Self:
        """Gather single numbers into a result.

        Args:
            records: (task, route, metric, value) of each example; within a task, route and metric
                in the order of the examples.
            header: what they were measured with, from ``describe_run``.
            attachments: JSON values that belong to them.
        """
        columns: dict[ScoreKey, list[float]] = {}
        for task, route, metric, value in records:
            columns.setdefault((task, route, metric), []).append(value)
        scores = {key: tuple(values) for key, values in columns.items()}
        return cls(scores, () if header is None else (header,), attachments or {})

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order in which they came."""
        return tuple(dict.fromkeys(task for task, _, _ in self.scores))

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes: as in ``ROUTE_ORDER``, variants like 'arrow top-2' beside their own; then others, then
        the oracle.
        """
        seen = dict.fromkeys(route for _, route, _ in self.scores)
        return tuple(sorted(seen, key=_route_rank))

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
        same examples wherever they share a task; only their number can be checked.

        Raises:
            ValueError: if both hold the same task, route and metric, or a different number of
                examples of one task, or different values under the same attachment.
        """
        for task, route, metric in self.scores:
            if (task, route, metric) in other.scores:
                raise ValueError(
                    f"both results hold {metric!r} of task {quote(task)} under route {quote(route)}: only "
                    "results without a common column merge"
                )
        headers = [*self.headers, *(header for header in other.headers if header not in self.headers)]
        attachments = _join(self.attachments, other.attachments, "attachments")
        return Result({**self.scores, **other.scores}, tuple(headers), attachments)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one JSON file, whole or not at all."""
        write_result(path, self.scores, self.headers, self.attachments)

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
                f"{quote(os.fspath(path))} is no sound result: {shorten(str(error))}"
            ) from error

    def _explain_missing(self, task: str, route: str, metric: str) -> str:
        found = {"task": (task, self.tasks), "route": (route, self.routes), "metric": (metric, self.metrics)}
        for kind, (name, known) in found.items():
            if name not in known:
                return f"this result has no {kind} {quote(name)}: {suggest(name, known)}"
        return f"this result has no {quote(metric)} of task {quote(task)} under route {quote(route)}"


def _route_rank(route: str) -> int:
    for rank, known in enumerate(ROUTE_ORDER):
        if _is_variant(route, known):
            return rank
    return len(ROUTE_ORDER) + _is_variant(route, LAST_ROUTE)


def _is_variant(route: str, known: str) -> bool:
    return route.startswith(known) and not route.removeprefix(known)[:1].isalnum()


def _check_column(key: ScoreKey, values: tuple[float, ...]) -> None:
    task, route, metric = key
    find_metric(metric)
    for name in (task, route):
        _check_name(name)
    if not values:
        raise ValueError(
            f"task {quote(task)} under route {quote(route)} has no value of {quote(metric)}: leave it out"
        )
    for index, value in enumerate(values):
        if not isfinite(value):
            raise ValueError(
                f"{metric!r} of task {quote(task)} under route {quote(route)} must be a finite number, found "
                f"{value!r} at example {index!r}: look at that example and at the expert's weights"
            )


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"names of tasks and routes must be Unicode text, found {quote(name)}") from None


def _check_pairing(columns: Mapping[ScoreKey, tuple[float, ...]]) -> None:
    first: dict[tuple[str, str], tuple[str, int]] = {}
    for (task, route, metric), values in columns.items():
        other, count = first.setdefault((task, metric), (route, len(values)))
        if count != len(values):
            raise ValueError(
                f"routes must be measured on the same examples, but task {quote(task)} has {count!r} values "
                f"of {metric!r} under route {quote(other)} and {len(values)!r} under {quote(route)}"
            )


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
