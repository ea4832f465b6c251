"""The JSON file of a result: writing it, and reading it with all checks, since it is untrusted."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from lorary.errors import FormatError
from lorary.evaluation.columns import ExamplesKey, ScoreKey
from lorary.evaluation.measures import Metric
from lorary.files import dump_json, quote, read_at_most, write_whole
from lorary.files.json_text import parse_json

FORMAT_VERSION = 1
_KINDS: dict[Any, str] = {str: "a text", list: "a list", dict: "an object", bool: "true or false"}


class ResultParts(NamedTuple):
    """The plain parts of a result file."""

    scores: dict[ScoreKey, tuple[float, ...]]
    headers: tuple[dict[str, Any], ...]
    attachments: dict[str, Any]
    metric_of: dict[str, Metric]
    example_ids: dict[ExamplesKey, tuple[str, ...]]


def write_result(
    path: str | os.PathLike[str],
    scores: Mapping[ScoreKey, Sequence[float]],
    headers: Sequence[Mapping[str, Any]],
    attachments: Mapping[str, Any],
    *,
    metrics: Sequence[Metric] = (),
    example_ids: Mapping[ExamplesKey, Sequence[str]] | None = None,
) -> None:
    """Write a result file, completely or not at all; floats are read back exactly.

    Earlier versions, without ``metrics`` and ``examples``, ignore these keys.
    """
    rows = [
        {"task": task, "route": route, "metric": metric, "values": list(values)}
        for (task, route, metric), values in scores.items()
    ]
    document = {
        "lorary_result": FORMAT_VERSION,
        "headers": list(headers),
        "metrics": [asdict(metric) for metric in metrics],
        "examples": [
            {"task": task, "metric": metric, "ids": list(ids)}
            for (task, metric), ids in (example_ids or {}).items()
        ],
        "scores": rows,
        "attachments": dict(attachments),
    }
    write_whole(path, dump_json(document, indent=1).encode())


def read_result(path: str | os.PathLike[str]) -> ResultParts:
    """Read a file that ``write_result`` wrote.

    Raises:
        FormatError: if it is not a regular file, too large, not JSON, not a result, or of another version.
    """
    shown = quote(os.fspath(path))
    document = parse_json(read_at_most(path, "result_mb"), os.fspath(path))
    if not isinstance(document, dict) or "lorary_result" not in document:
        raise FormatError(f"{shown} is not a lorary result: it must have 'lorary_result', found none")
    found = document["lorary_result"]
    if found != FORMAT_VERSION or isinstance(found, bool):
        raise FormatError(
            f"{shown} is a result of format {quote(found, 60)}, this version of lorary reads "
            f"{FORMAT_VERSION}: evaluate again or use the version that wrote it"
        )
    try:
        return _take_parts(document)
    except ValueError as error:
        raise FormatError(f"{shown} is a damaged lorary result: {error}") from error


def _take_parts(document: dict[str, Any]) -> ResultParts:
    scores: dict[ScoreKey, tuple[float, ...]] = {}
    for row in _take_rows(document, "scores"):
        key = (_take(row, "task", str), _take(row, "route", str), _take(row, "metric", str))
        if key in scores:
            raise ValueError(
                "two rows of task {}, route {}, metric {}".format(*(quote(part, 60) for part in key))
            )
        scores[key] = tuple(_read_number(value) for value in _take(row, "values", list))
    headers = _take(document, "headers", list)
    if not all(isinstance(header, dict) for header in headers):
        raise ValueError(f"headers must be objects, found {quote(headers, 60)}")
    # Earlier versions wrote neither "metrics" nor "examples".
    metric_of: dict[str, Metric] = {}
    for row in _take_rows({"metrics": [], **document}, "metrics"):
        metric = _read_metric(row)
        if metric.name in metric_of:
            raise ValueError(f"two rows of metrics named {quote(metric.name, 60)}")
        metric_of[metric.name] = metric
    example_ids: dict[ExamplesKey, tuple[str, ...]] = {}
    for row in _take_rows({"examples": [], **document}, "examples"):
        examples = (_take(row, "task", str), _take(row, "metric", str))
        if examples in example_ids:
            raise ValueError(
                "two rows of examples of task {}, metric {}".format(*(quote(p, 60) for p in examples))
            )
        example_ids[examples] = tuple(map(_read_text, _take(row, "ids", list)))
    attachments = _take(document, "attachments", dict)
    return ResultParts(scores, tuple(headers), attachments, metric_of, example_ids)


def _read_metric(row: dict[str, Any]) -> Metric:
    return Metric(
        name=_take(row, "name", str),
        title=_take(row, "title", str),
        description=_take(row, "description", str),
        lower_is_better=_take(row, "lower_is_better", bool),
    )


def _take_rows(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _take(document, key, list)
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"a row of {key} must be an object, found {quote(row, 60)}")
    return rows


def _take(holder: dict[str, Any], key: str, kind: type) -> Any:
    value = holder.get(key)
    if not isinstance(value, kind):
        raise ValueError(f"{key!r} must be {_KINDS[kind]}, found {quote(value, 60)}")
    return value


def _read_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"values must be numbers, found {quote(value, 60)}")
    return float(value)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"ids must be texts, found {quote(value, 60)}")
    return value
