"""A result as one JSON file: what is in it, and reading it back with suspicion."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lorary.errors import FormatError
from lorary.files import write_whole

FORMAT_VERSION = 1

# (task, route, metric)
ScoreKey = tuple[str, str, str]


class ResultParts(NamedTuple):
    """The plain parts of a result file."""

    scores: dict[ScoreKey, tuple[float, ...]]
    headers: tuple[dict[str, Any], ...]
    attachments: dict[str, Any]


def write_result(
    path: str | os.PathLike[str],
    scores: Mapping[ScoreKey, Sequence[float]],
    headers: Sequence[Mapping[str, Any]],
    attachments: Mapping[str, Any],
) -> None:
    """Write a result file, whole or not at all; floats come back exactly."""
    rows = [
        {"task": task, "route": route, "metric": metric, "values": list(values)}
        for (task, route, metric), values in scores.items()
    ]
    document = {
        "lorary_result": FORMAT_VERSION,
        "headers": list(headers),
        "scores": rows,
        "attachments": dict(attachments),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, text.encode())


def read_result(path: str | os.PathLike[str]) -> ResultParts:
    """Read what ``write_result`` wrote.

    Raises:
        FormatError: if the file is not JSON, not a result, or of another version.
    """
    try:
        document = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise FormatError(f"{os.fspath(path)!r} must be a JSON result file: {error}") from error
    if not isinstance(document, dict) or "lorary_result" not in document:
        raise FormatError(f"{os.fspath(path)!r} is JSON but no lorary result: it has no 'lorary_result'")
    found = document["lorary_result"]
    if found != FORMAT_VERSION:
        raise FormatError(
            f"{os.fspath(path)!r} is a result of format {found!r}, this lorary reads {FORMAT_VERSION!r}: "
            "evaluate again or use the version that wrote it"
        )
    try:
        return _take_parts(document)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{os.fspath(path)!r} is a damaged lorary result: {type(error).__name__}: {error}"
        ) from error


def _take_parts(document: dict[str, Any]) -> ResultParts:
    scores: dict[ScoreKey, tuple[float, ...]] = {}
    for row in document["scores"]:
        key = (str(row["task"]), str(row["route"]), str(row["metric"]))
        if key in scores:
            raise ValueError(f"two rows of task {key[0]!r}, route {key[1]!r}, metric {key[2]!r}")
        scores[key] = tuple(float(value) for value in row["values"])
    headers = tuple(dict(header) for header in document["headers"])
    return ResultParts(scores, headers, dict(document["attachments"]))
