"""What a commit does to each expert's folder on a local disk."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library.storage.contract import KIND_WORDS, Puts, Source, Stored
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.journal import RENAMED_FILES
from lorary.library.storage.places import is_part_of_expert


class FolderChange(NamedTuple):
    """What becomes of one folder."""

    name: str
    files: dict[str, Source]
    """All that shall be in it, by path in the folder; of a renamed expert only what is exchanged."""
    is_there: bool
    """Whether there is a folder of this name, which is replaced, or removed if there are no files."""
    old_name: str | None = None
    """The folder that gets this name as it is, but for ``files``."""


class Commit(NamedTuple):
    """A commit, divided."""

    folders: list[FolderChange]
    """Changes of experts' folders, which belong together. Removals come first: the last one tells whether
    all were made."""
    puts: Puts
    """All other files, each by itself."""
    deletes: list[str]
    """What else is removed."""


def plan_commit(storage: LocalFolder, puts: Puts, deletes: Collection[str]) -> Commit:
    """Divide a commit into what becomes of each folder and of each other file.

    Raises:
        LibraryError: if something in a folder to be copied is no file, such as a link.
    """
    folder_puts = {
        path: put for path, put in puts.items() if is_part_of_expert(path) or _is_folder(storage, put)
    }
    folder_deletes = [
        path for path in deletes if is_part_of_expert(path) or storage.find_kind(path) == "folder"
    ]
    names = dict.fromkeys(path.partition("/")[0] for path in (*folder_deletes, *folder_puts))
    renamed = dict(_find_renamed(storage, folder_puts, folder_deletes))
    changes = [FolderChange(new, _take_files(folder_puts, new), False, old) for new, old in renamed.items()]
    for name in names:
        if name not in renamed and name not in renamed.values():
            changes.append(_plan_folder(storage, name, folder_puts, folder_deletes))
    return Commit(
        sorted(changes, key=lambda change: bool(change.files or change.old_name)),
        {path: source for path, source in puts.items() if path not in folder_puts},
        [path for path in deletes if path not in folder_deletes],
    )


def _is_folder(storage: LocalFolder, source: Source) -> bool:
    return isinstance(source, Stored) and storage.find_kind(source.path) == "folder"


def _find_renamed(storage: LocalFolder, puts: Puts, deletes: Collection[str]) -> Iterator[tuple[str, str]]:
    """Find folders that get another name and nothing else but files that hold it: new name, old name."""
    for new, source in puts.items():
        if not isinstance(source, Stored) or "/" in new + source.path or source.path not in deletes:
            continue
        old, files = source.path, _take_files(puts, new)
        others = {path: put for path, put in puts.items() if path != new}
        is_only = not any(path.startswith(f"{old}/") or _is_from(put, old) for path, put in others.items())
        is_same = set(files) <= set(RENAMED_FILES) and all(
            storage.find_kind(f"{old}/{file}") == "file" for file in files
        )
        if is_only and is_same and storage.find_kind(new) is None:
            yield new, old


def _is_from(source: Source, folder: str) -> bool:
    return isinstance(source, Stored) and f"{source.path}/".startswith(f"{folder}/")


def _take_files(puts: Puts, folder: str) -> dict[str, Source]:
    return {path[len(folder) + 1 :]: source for path, source in puts.items() if path.startswith(f"{folder}/")}


def _plan_folder(storage: LocalFolder, name: str, puts: Puts, deletes: Collection[str]) -> FolderChange:
    is_there = storage.find_kind(name) is not None
    files: dict[str, Source] = {}
    if name in puts:
        files = _list_files(storage, puts[name].path)  # type: ignore[union-attr]
    elif is_there and name not in deletes:
        files = _list_files(storage, name)
        for path in deletes:
            inner = path[len(name) + 1 :]
            files = {file: source for file, source in files.items() if not f"{file}/".startswith(f"{inner}/")}
    return FolderChange(name, {**files, **_take_files(puts, name)}, is_there)


def _list_files(storage: LocalFolder, folder: str) -> dict[str, Source]:
    found = storage.walk(folder)
    for path, kind in found.items():
        if kind != "file":
            raise LibraryError(
                f"{quote(path)} in library {quote(storage.url)} is {KIND_WORDS[kind]}, "
                "where only files can be copied: remove it, or put in its place what it leads to"
            )
    return {path[len(folder) + 1 :]: Stored(path) for path in found}
