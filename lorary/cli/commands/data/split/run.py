"""Copy each row into the file of its task."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.printing import print_line
from lorary.cli.task_places import SPLIT_WORDS
from lorary.data.hub import is_hub_id, list_hub_splits, open_hub_split
from lorary.data.readers.files import open_file
from lorary.data.source import Record, Source
from lorary.errors import DataError, suggest
from lorary.experts import check_name
from lorary.files import quote, say_count
from lorary.models.new_folder import new_folder

# Rows that are held before they are written.
CHUNK = 20_000
EVERY = 1000


def run(options: Namespace) -> int:
    """Split the data set."""
    if options.max_rows is not None and options.max_rows < 1:
        raise ValueError(f"--max-rows must be at least 1, found {options.max_rows}")
    if options.out.exists():
        raise ValueError(f"--out {quote(str(options.out))} already exists: name a new folder, or delete it")
    with new_folder(options.out) as part, show_count("splitting rows") as show:
        counts = split_rows(options, RowFiles(part, options.max_rows), lambda number: show(number, 0))
    tasks = len({task for task, _ in counts})
    print_line(f"{say_count(sum(counts.values()), 'row')} of {say_count(tasks, 'task')} in {options.out}")
    return 0


def split_rows(
    options: Namespace, files: "RowFiles", show: Callable[[int], None]
) -> Mapping[tuple[str, str], int]:
    """Copy all rows that are kept; returns the number of rows of each task and split.

    Raises:
        DataError: if a row has no task or split, an unknown task is left out, or no row is kept.
    """
    without = set(options.without or ())
    seen: set[str] = set()
    for number, (source, record) in enumerate(_list_records(options.place), 1):
        task, split = _read_names(source, record, options.by, options.split_by)
        seen.add(task)
        if task not in without:
            files.add(task, split, record.row)
        if number % EVERY == 0:
            show(number)
    unknown = sorted(without - seen)
    if unknown:
        raise DataError(
            f"--without names {quote(unknown[0])}, which is not a task of the data set: "
            f"{suggest(unknown[0], seen)}"
        )
    if not files.counts:
        raise DataError(f"{quote(options.place)} has no row to keep: check --without")
    files.flush()
    return files.counts


class RowFiles:
    """Files of rows, one per task and split, written in portions.

    Args:
        folder: where they are.
        max_rows: most rows of a file; None for all.
    """

    def __init__(self, folder: Path, max_rows: int | None):
        self._folder, self._max_rows = folder, max_rows
        self._waiting: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._num_waiting = 0
        self.counts: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, task: str, split: str, row: object) -> None:
        """Add a row."""
        key = (task, split)
        if self._max_rows is not None and self.counts[key] >= self._max_rows:
            return
        self.counts[key] += 1
        self._waiting[key].append(json.dumps(row, ensure_ascii=False, default=str))
        self._num_waiting += 1
        if self._num_waiting >= CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
        for (task, split), lines in self._waiting.items():
            with (self._folder / f"{task}.{split}.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in lines)
        self._waiting.clear()
        self._num_waiting = 0


def _list_records(place: str) -> Iterator[tuple[str, Record]]:
    """Yield each row with the split of its source."""
    sources: Mapping[str, Source] = (
        {split: open_hub_split(text) for split, text in list_hub_splits(place).items()}
        if is_hub_id(place)
        else {"train": open_file(Path(place))}
    )
    for split, source in sources.items():
        for record in source.records:
            yield split, record


def _read_names(split: str, record: Record, by: str, split_by: str | None) -> tuple[str, str]:
    row: Any = record.row
    if not isinstance(row, Mapping):
        raise DataError(f"{record.place} is not a row with columns: {quote(str(row), 60)}")
    for column in (by, *([split_by] if split_by else [])):
        if not isinstance(row.get(column), str):
            raise DataError(
                f"{record.place} has no text in column {quote(column, 60)}: {suggest(column, map(str, row))}"
            )
    given = row[split_by] if split_by else split
    if given not in SPLIT_WORDS:
        raise DataError(
            f"{record.place} has split {quote(given, 60)}: it must be one of {', '.join(SPLIT_WORDS)}"
        )
    name = row[by]
    check_name(name)
    if "." in name:
        raise DataError(
            f"{record.place} has task {quote(name, 60)}: a name with a dot cannot be a file of a split"
        )
    return name, SPLIT_WORDS[given]
