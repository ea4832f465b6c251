"""Parse the value of ``--tasks``, from the command line or YAML, into one place per task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorary.data.readers.read import SUFFIXES
from lorary.data.task import SPLIT_NAMES
from lorary.errors import DataError
from lorary.files import quote, require_regular, say_count

SPLIT_WORDS = {**{name: name for name in SPLIT_NAMES}, "dev": "validation"}

Place = str | Mapping[str, str]
"""A path or hub id, or one per split."""


def parse_places(given: Any) -> list[tuple[str | None, Place]]:
    """Turn the value of ``--tasks`` into places, each with the name it was given, if any.

    Args:
        given: a word, a list of words (``PLACE`` or ``NAME=PLACE``), or a mapping name -> place. Folders
            stand for the task files in them.

    Raises:
        ValueError: if it is empty or of another form.
        DataError: if a folder contains no task files.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        named = list(given.items())
    elif isinstance(given, list):
        named = [_split_name(word) for word in given]
    else:
        named = []
    if not named or not all(_is_place(place) for _, place in named):
        raise ValueError(
            "tasks must be places or NAME=PLACE, or in YAML a mapping from names to a place or to one place "
            f"per split, found {quote(given)}: correct --tasks"
        )
    return [found for name, place in named for found in _open_folder(name, place)]


def group_files(folder: Path) -> dict[str, Place]:
    """Find the tasks of a folder: one file each, or one file per split.

    ``arc.train.jsonl`` and ``arc.validation.jsonl`` make one task, ``arc``; ``train.jsonl`` and
    ``test.jsonl`` make one with the folder's name.

    Returns:
        Task name -> a file, or split -> file; sorted.

    Raises:
        DataError: if there is no task file.
    """
    groups: dict[str, dict[str, str]] = {}
    for path in sorted(folder.iterdir()):
        stem = _strip_suffixes(path)
        if stem is None or not path.is_file():
            continue
        name, _, split = stem.rpartition(".")
        if split not in SPLIT_WORDS:
            name, split = stem, ""
        groups.setdefault(name or folder.absolute().name, {})[SPLIT_WORDS.get(split, "")] = str(path)
    if not groups:
        raise DataError(
            f"folder {quote(str(folder))} contains no task file ({', '.join(sorted(SUFFIXES))}): name a "
            "file, or a folder with task files directly in it"
        )
    return {name: _choose_place(name, files) for name, files in groups.items()}


def _choose_place(name: str, files: dict[str, str]) -> Place:
    if "" in files and len(files) > 1:
        split = files[next(key for key in files if key)]
        raise DataError(
            f"task {quote(name)} has the file {quote(files[''])} and the split file {quote(split)}: name one "
            "of them"
        )
    # A file of training examples alone is split by content, like a file without a split in its name.
    return next(iter(files.values())) if files.keys() <= {"", "train"} else files


def _strip_suffixes(path: Path) -> str | None:
    """Return a task file's name without its suffixes; None for hidden and other files."""
    if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
        return None
    stem = path
    while stem.suffix.lower() in SUFFIXES:
        stem = stem.with_suffix("")
    return stem.name


def _split_name(word: Any) -> tuple[str | None, Any]:
    if not isinstance(word, str):
        return None, word
    name, equals, place = word.partition("=")
    is_named = equals and name and place and not set(name) & set("/:\\") and not Path(word).exists()
    return (name, place) if is_named else (None, word)


def _is_place(place: Any) -> bool:
    if isinstance(place, Mapping):
        return bool(place) and all(isinstance(part, str) for pair in place.items() for part in pair)
    return isinstance(place, str) and bool(place)


def _open_folder(name: str | None, place: Place) -> list[tuple[str | None, Place]]:
    for part in [place] if isinstance(place, str) else place.values():
        # Reading a device never ends, and opening a named pipe waits for a writer.
        if Path(part).exists() and not Path(part).is_dir():
            require_regular(Path(part).stat(), part)
    if not isinstance(place, str) or not Path(place).is_dir():
        return [(name, place)]
    found = group_files(Path(place))
    if name is None:
        return list(found.items())
    if len(found) > 1:
        raise ValueError(
            f"{quote(place)} has {say_count(len(found), 'task')} ({', '.join(list(found)[:4])}, …), which "
            "cannot all be "
            f"named {quote(name)}: leave out the name, or give one file"
        )
    return [(name, next(iter(found.values())))]
