"""Comparing two results on their common examples."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lorary.evaluation.columns import Record
from lorary.evaluation.compare import Difference, correct_differences, paired_difference
from lorary.evaluation.measures import Metric
from lorary.evaluation.result import Result
from lorary.files import quote

# Settings that other settings describe, or that have no effect.
UNTOLD = {"data", "cut", "empty", "examples", "shared", "routes", "prompts", "experts"}


@dataclass(frozen=True)
class PairedResults:
    """Two results on the examples that both have."""

    result: Result
    """Both results, with routes named ``route (name)``."""
    pairs: tuple[tuple[str, str], ...]
    """The compared routes: the second result's, the first result's."""
    num_left_out: int
    """Number of values without a counterpart."""
    changed: Mapping[str, tuple[Any, Any]]
    """Setting -> its value in both results, for those that differ."""

    def differences(self, metric: str) -> list[Difference]:
        """Compare each common route, corrected for the number of routes.

        Raises:
            ValueError: if no pair of routes has the metric.
        """
        measured = {(route, name) for _, route, name in self.result.scores}
        pairs = [pair for pair in self.pairs if all((route, metric) in measured for route in pair)]
        if not pairs:
            raise ValueError(f"no pair of routes has the metric {quote(metric)}")
        return correct_differences([paired_difference(self.result, metric, *pair) for pair in pairs])


def pair_results(first: Result, second: Result, names: tuple[str, str]) -> PairedResults:
    """Pair two results by task, metric, route and example.

    If they have no route in common and one each, these are compared.

    Args:
        first: a result.
        second: another one.
        names: of both, for tables.

    Raises:
        ValueError: if they have no example in common, or no routes that could be compared; or if a result is
            from a version that kept no ids of examples.
    """
    _check(first, names[0])
    _check(second, names[1])
    routes = [(route, route) for route in first.routes if route in second.routes]
    if not routes and len(first.routes) == len(second.routes) == 1:
        routes = [(first.routes[0], second.routes[0])]
    if not routes:
        raise ValueError(
            f"two results need a route in common, found {quote(list(first.routes))} in {names[0]} and "
            f"{quote(list(second.routes))} in {names[1]}"
        )
    pairs = tuple((f"{two} ({names[1]})", f"{one} ({names[0]})") for one, two in routes)
    records = [
        record
        for (one, two), (name_two, name_one) in zip(routes, pairs, strict=True)
        for record in _pair(first, second, (one, two), (name_one, name_two))
    ]
    if not records:
        raise ValueError(
            f"{names[0]} and {names[1]} must have an example in common, found none: measure the same tasks, "
            "with the same seed"
        )
    used = {one for one, _ in routes}, {two for _, two in routes}
    total = sum(
        len(values)
        for result, own in zip((first, second), used, strict=True)
        for (_, route, _), values in result.scores.items()
        if route in own
    )
    joined = Result.from_records(
        records, metrics=[_join_metric(name, first, second) for name in dict.fromkeys(r[2] for r in records)]
    )
    return PairedResults(joined, pairs, total - len(records), _find_changed(first, second))


def _check(result: Result, name: str) -> None:
    if not result.scores:
        raise ValueError(f"{name} must have values, found none: evaluate again")
    if any((task, metric) not in result.example_ids for task, _, metric in result.scores):
        raise ValueError(
            f"{name} has no ids of its examples, so values cannot be paired: evaluate again with this version"
        )


def _pair(first: Result, second: Result, routes: tuple[str, str], names: tuple[str, str]) -> Iterator[Record]:
    for (task, route, metric), values in first.scores.items():
        others = second.scores.get((task, routes[1], metric))
        if route != routes[0] or others is None:
            continue
        one = dict(zip(first.example_ids[task, metric], values, strict=True))
        two = dict(zip(second.example_ids[task, metric], others, strict=True))
        for name, own in ((names[0], one), (names[1], two)):
            yield from (Record(task, name, metric, own[each], each) for each in one if each in two)


def _join_metric(name: str, first: Result, second: Result) -> Metric:
    """Describe a metric of both; where they say different things of it, by its name."""
    one, two = first.metric_of[name], second.metric_of[name]
    return one if one.title == two.title else replace(one, title=name)


def _find_changed(first: Result, second: Result) -> dict[str, tuple[Any, Any]]:
    """Find settings that differ between the last runs of two results."""
    one, two = (
        dict(each.headers[-1].get("settings", {})) if each.headers else {} for each in (first, second)
    )
    return {
        name: _keep_changed(one.get(name), two.get(name))
        for name in sorted(one.keys() | two.keys())
        if name not in UNTOLD and one.get(name) != two.get(name)
    }


def _keep_changed(one: Any, two: Any) -> tuple[Any, Any]:
    """Keep of two mappings what differs."""
    if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
        return one, two
    same = {key for key in one.keys() & two.keys() if one[key] == two[key]}
    kept = [{key: value for key, value in each.items() if key not in same} for each in (one, two)]
    return kept[0], kept[1]
