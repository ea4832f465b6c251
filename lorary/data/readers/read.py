"""``read_task``: reading a ``Task`` from a file, a hub's data set, rows, or one of these for each split."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from lorary.data.conversation import expand_turns
from lorary.data.hub import is_hub_id, list_hub_splits, name_hub_task, open_hub_split
from lorary.data.readers.columns import Columns
from lorary.data.readers.files import open_file
from lorary.data.readers.memory import open_rows
from lorary.data.readers.rows import read_rows
from lorary.data.source import Source
from lorary.data.splits import SplitConfig, cap_splits, drop_duplicates, drop_overlap, split_examples
from lorary.data.task import SPLIT_NAMES, Example, Task
from lorary.files import quote

Place = str | PathLike[str] | Iterable[Mapping[str, Any]]
"""A path, ``hf:owner/name[:config][#split]``, or rows: a list, a data set, or a table of pandas."""
Turns = Literal["last", "all"]
"""The assistant's turns of a conversation that are used as targets: the last one, or each."""
ALL = "all"
"""Split name of a place whose examples are not split yet."""
SUFFIXES = {".xz", ".gz", ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"}


def read_task(
    place: Place | Mapping[str, Place],
    *,
    name: str | None = None,
    definition: str | None = None,
    format: str | None = None,
    columns: Columns | None = None,
    turns: Turns = "last",
    skip_bad: bool = False,
    splits: SplitConfig | None = None,
) -> Task:
    """Read a task; the reader of each row is chosen by the row's fields.

    A single file, or a hub's data set with one split, is split by content hash. With one place for each split
    (as in a hub's data set with several splits), the places are the splits, and examples whose input occurs
    in a later split are dropped from an earlier one.

    Args:
        place: a path, an ``hf:`` id or rows, or split name ('train', 'validation', 'test') -> one of these.
        name: the task's name; ``None``: from the place. Rows in memory need a name.
        definition: the task's definition; ``None``: from the file, if it has one.
        format: a name in ``FORMATS``; ``None``: chosen by content.
        columns: part of an example -> column or columns, for rows of no known format, such as
            ``{"input": ["question", "context"], "target": "sql"}``.
        turns: the assistant's turns of a conversation that become targets. ``all`` makes an example of each;
            all of them stay in the conversation's split.
        skip_bad: leave out bad rows and count them in ``Task.num_skipped``, instead of raising an error.
        splits: fractions and caps; with one place for each split, only the caps are used.

    Raises:
        ValueError: if an argument is invalid.
        DataError: if a place is missing, corrupt, of an unknown format, or has a bad row or no usable one.
    """
    if turns not in get_args(Turns):
        raise ValueError(f"turns must be one of {get_args(Turns)}, found {quote(turns, 60)}")
    config = splits or SplitConfig()
    places = _list_places(place)
    sources = {split: _open_source(where) for split, where in places.items()}
    read = {
        split: read_rows(source, format=format, columns=columns, skip_bad=skip_bad)
        for split, source in sources.items()
    }
    unique = {split: drop_duplicates(rows.examples) for split, rows in read.items()}
    dealt, num_overlapping = _deal_examples(unique, config)
    own_definition = next((source.definition for source in sources.values() if source.definition), "")
    counts = sum((rows.formats for rows in read.values()), Counter[str]())
    task = Task(
        name=name or name_task(next(iter(places.values()))),
        splits=dealt,
        definition=own_definition if definition is None else definition,
        num_skipped=sum(rows.num_skipped for rows in read.values()),
        num_duplicates=_count(rows.examples for rows in read.values()) - _count(unique.values()),
        num_overlapping=num_overlapping,
        num_rejected=sum(rows.num_rejected for rows in read.values()),
        formats=tuple(format for format, _ in counts.most_common()),
        unused=tuple(dict.fromkeys(column for rows in read.values() for column in rows.unused)),
        categories=tuple(dict.fromkeys(each for source in sources.values() for each in source.categories)),
    )
    return _expand_task(task) if turns == "all" else task


def name_task(place: Place) -> str:
    """Return the name of a task: its file's, or its folder's if the file has the name of a split.

    Raises:
        ValueError: if the place is rows in memory.
    """
    if isinstance(place, str) and is_hub_id(place):
        return name_hub_task(place)
    if not isinstance(place, str | PathLike):
        raise ValueError("a task of rows in memory needs a name: pass one, as in name='sums'")
    path = Path(place)
    stem = path
    while stem.suffix.lower() in SUFFIXES or stem.suffix.lstrip(".") in SPLIT_NAMES:
        stem = stem.with_suffix("")
    return path.absolute().parent.name if stem.name in (*SPLIT_NAMES, "dev") else stem.name


def _expand_task(task: Task) -> Task:
    """Return the task with an example for every assistant turn."""
    turns = {
        split: [turn for example in examples for turn in expand_turns(example)]
        for split, examples in task.splits.items()
    }
    expanded = {split: drop_duplicates(examples) for split, examples in turns.items()}
    num_same = _count(turns.values()) - _count(expanded.values())
    return replace(task, splits=expanded, num_duplicates=task.num_duplicates + num_same)


def _list_places(place: Place | Mapping[str, Place]) -> dict[str, Place]:
    """Return the place of each split, or one place under ``ALL``."""
    if isinstance(place, Mapping):
        unknown = sorted(set(place) - set(SPLIT_NAMES), key=str)
        if unknown or not place:
            given = quote(unknown) if unknown else "for none"
            raise ValueError(f"places must be given for splits among {SPLIT_NAMES}, not {given}")
        return dict(place)
    if isinstance(place, str) and is_hub_id(place):
        found: dict[str, Place] = {**list_hub_splits(place)}
        return found if len(found) > 1 else {ALL: next(iter(found.values()))}
    return {ALL: place}


def _open_source(place: Place) -> Source:
    if isinstance(place, str) and is_hub_id(place):
        return open_hub_split(place)
    return open_file(Path(place)) if isinstance(place, str | PathLike) else open_rows(place)


def _deal_examples(
    read: Mapping[str, Sequence[Example]], config: SplitConfig
) -> tuple[dict[str, tuple[Example, ...]], int]:
    """Return the splits, and the number of examples dropped because a later split has the same input."""
    if ALL in read:
        return split_examples(read[ALL], config), 0
    apart = drop_overlap(read)
    return cap_splits(apart, config), _count(read.values()) - _count(apart.values())


def _count(groups: Iterable[Sequence[Example]]) -> int:
    return sum(len(group) for group in groups)
