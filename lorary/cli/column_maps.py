"""The value of ``--columns``: a map of columns for all tasks, and maps for tasks by name."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorary.errors import suggest
from lorary.files import quote

ALL = ""
"""The key of the map for all tasks without a map of their own."""
ColumnMaps = Mapping[str, Mapping[str, Any]]
"""Task, or ``ALL`` -> part of an example -> its column or columns."""


def read_columns(value: object) -> ColumnMaps:
    """Parse words such as ``input=question,context`` or ``sales:input=question``, or a mapping from YAML.

    In YAML the value of a part is a column or a list of them, the value of a task a mapping.

    Raises:
        ValueError: if it is of another form, or names a part of a task twice.
    """
    pairs = _list_pairs(value)
    maps: dict[str, dict[str, Any]] = {}
    for task, part, columns in pairs or ():
        maps.setdefault(task, {})[part] = columns
    if pairs is None or sum(map(len, maps.values())) < len(pairs):
        raise ValueError(
            "columns must name each part once, as in input=question,context target=sql, or "
            f"TASK:input=question for one task, found {quote(value)}"
        )
    return maps


def check_columns(maps: ColumnMaps, tasks: Iterable[str]) -> None:
    """Refuse a map for a task that does not exist.

    Raises:
        ValueError: names the task and the nearest ones.
    """
    known = list(tasks)
    for task in maps:
        if task not in (ALL, *known):
            raise ValueError(f"columns has no task {quote(task, 60)}: {suggest(task, known)}")


def choose_columns(maps: ColumnMaps, task: str) -> Mapping[str, Any] | None:
    """Return a task's map: its own, or that for all."""
    return maps.get(task, maps.get(ALL))


def write_columns(value: object) -> list[str]:
    """Write the value as words."""
    return [
        f"{f'{task}:' if task else ''}{part}={columns if isinstance(columns, str) else ','.join(columns)}"
        for task, parts in read_columns(value).items()
        for part, columns in parts.items()
    ]


def _list_pairs(value: object) -> list[tuple[str, str, Any]] | None:
    """Return task, part and columns of each word; None if the value is of another form."""
    if isinstance(value, Mapping):
        return [pair for name, columns in value.items() for pair in _open_task(str(name), columns)]
    words = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(isinstance(word, str) and "=" in word for word in words):
        return None
    pairs = (word.partition("=") for word in words)
    return [(*_split_task(place), columns) for place, _, columns in pairs]


def _split_task(place: str) -> tuple[str, str]:
    task, _, part = place.rpartition(":")
    return task, part


def _open_task(name: str, columns: Any) -> list[tuple[str, str, Any]]:
    if isinstance(columns, Mapping):
        return [(name, str(part), each) for part, each in columns.items()]
    return [(ALL, name, columns)]
