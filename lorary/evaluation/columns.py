"""The columns of a result. A column has one number per example, for a (task, route, metric).

All routes have the examples of a task in the same order.
"""

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import NamedTuple

from lorary.files import quote, say_count

# (task, route, metric)
ScoreKey = tuple[str, str, str]
# (task, metric), since all routes have the same examples
ExamplesKey = tuple[str, str]


class Record(NamedTuple):
    """The value of one example, under one route, by one metric."""

    task: str
    route: str
    metric: str
    value: float
    example: str | None = None
    """The example's id, unique within the task; None if it has none."""


class Columns(NamedTuple):
    """Values, and the ids of their examples."""

    scores: dict[ScoreKey, tuple[float, ...]]
    """(task, route, metric) -> one value per example."""
    example_ids: dict[ExamplesKey, tuple[str, ...]]
    """(task, metric) -> ids of the examples in order, if they are known."""


def gather_columns(records: Iterable[Record | Sequence[object]]) -> Columns:
    """Gather single values into columns; examples with ids are sorted in the order of the first route.

    Raises:
        ValueError: if routes were measured on different examples, only some examples of a column have ids, or
            an id occurs twice.
    """
    columns: dict[ScoreKey, list[Record]] = {}
    for given in records:
        record = Record(*given)
        columns.setdefault(record[:3], []).append(record)
    scores: dict[ScoreKey, tuple[float, ...]] = {}
    example_ids: dict[ExamplesKey, tuple[str, ...]] = {}
    for key, column in columns.items():
        values = tuple(record.value for record in column)
        ids = _check_ids(key, [record.example for record in column])
        if ids is not None:
            known = example_ids.setdefault((key[0], key[2]), ids)
            values = align_values(key, values, ids, known)
        scores[key] = values
    return Columns(scores, example_ids)


def join_columns(left: Columns, right: Columns) -> Columns:
    """Join the columns of two results; if both have ids, the right values are sorted like the left ones.

    Raises:
        ValueError: if both have the same column, or were measured on different examples.
    """
    scores = dict(left.scores)
    for key, values in right.scores.items():
        task, route, metric = key
        if key in scores:
            raise ValueError(
                f"results that are merged must have no common column, but both have {metric!r} of task "
                f"{quote(task)} under route {quote(route)}"
            )
        ids, known = (columns.example_ids.get((task, metric)) for columns in (right, left))
        scores[key] = values if ids is None or known is None else align_values(key, values, ids, known)
    return Columns(scores, {**right.example_ids, **left.example_ids})


def align_values(
    key: ScoreKey, values: Sequence[float], ids: Sequence[str], known: Sequence[str]
) -> tuple[float, ...]:
    """Sort a column's values in the order of known examples.

    Args:
        key: the column.
        values: its values.
        ids: the example's id of each value.
        known: the ids of earlier columns, in their order.

    Raises:
        ValueError: if the examples differ.
    """
    value_of = dict(zip(ids, values, strict=True))
    different = sorted(value_of.keys() ^ set(known))
    if different:
        task, route, metric = key
        raise ValueError(
            f"routes must be measured on the same examples, but of task {quote(task)} and {metric!r} example "
            f"{quote(different[0])} was measured under only some of the routes, {quote(route)} among those "
            f"that {'have' if different[0] in value_of else 'lack'} it"
        )
    return tuple(value_of[example] for example in known)


def check_columns(columns: Columns) -> None:
    """Check that names are Unicode text, columns are paired and not empty, and values are finite.

    Raises:
        ValueError: if not; the message has the column and the fault.
    """
    first: dict[ExamplesKey, tuple[str, int]] = {}
    for key, values in columns.scores.items():
        _check_values(key, values)
        task, route, metric = key
        other, count = first.setdefault((task, metric), (route, len(values)))
        if count != len(values):
            raise ValueError(
                f"routes must be measured on the same examples, but task {quote(task)} has "
                f"{say_count(count, 'value')} of {metric!r} under route {quote(other)} and "
                f"{len(values)!r} under {quote(route)}"
            )
    for (task, metric), ids in columns.example_ids.items():
        for example in ids:
            _check_name(example)
        count = first.get((task, metric), ("", 0))[1]
        if len(ids) != count or len(set(ids)) != count:
            raise ValueError(
                f"task {quote(task)} has {say_count(count, 'value')} of {metric!r}, so it must have as "
                "many different "
                f"example ids, found {len(set(ids))} different ones among {len(ids)}"
            )


def _check_ids(key: ScoreKey, ids: Sequence[str | None]) -> tuple[str, ...] | None:
    known = [example for example in ids if example is not None]
    if known and (len(known) < len(ids) or len(set(known)) < len(known)):
        task, route, metric = key
        raise ValueError(
            f"all examples of task {quote(task)} must have different ids, or none must have one, found "
            f"{say_count(len(set(known)), 'different id')} of {say_count(len(ids), 'example')} under "
            f"route {quote(route)} and "
            f"{metric!r}"
        )
    return tuple(known) if known else None


def _check_values(key: ScoreKey, values: Sequence[float]) -> None:
    task, route, metric = key
    for name in (task, route):
        _check_name(name)
    if not values:
        raise ValueError(
            f"a column must have at least one value, task {quote(task)} under route {quote(route)} has none "
            f"of {quote(metric)}: leave it out"
        )
    for index, value in enumerate(values):
        if not isfinite(value):
            raise ValueError(
                f"{metric!r} of task {quote(task)} under route {quote(route)} must be a finite number, found "
                f"{value!r} at example {index!r}: check that example and the expert's weights"
            )


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"names of tasks, routes and examples must be Unicode text, found {quote(name)}"
        ) from None
