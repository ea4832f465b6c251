"""Dividing a commit into changes of experts' folders and of other files, on a local disk."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library.storage.contract import KIND_WORDS, Puts, Source, Stored
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.journal import RENAMED_FILES
from lorary.library.storage.places import is_part_of_expert


class FolderChange(NamedTuple):
    """The change of one expert's folder."""

    name: str
    files: dict[str, Source]
    """Its new content, by path in the folder; for a renamed expert, only the replaced files."""
    is_there: bool
    """Whether a folder of this name exists. It is replaced, or removed if there are no files."""
    old_name: str | None = None
    """For a renamed expert, its folder before; apart from ``files`` its content stays."""


class Commit(NamedTuple):
    """A commit, divided."""

    folders: list[FolderChange]
    """Changes of experts' folders, which are made together. Removals come first, because the last move shows
    whether all were made, and a removed folder leaves no trace."""
    puts: Puts
    """All other files, each independent of the others."""
    deletes: list[str]
    """All other removed paths."""


def plan_commit(storage: LocalFolder, puts: Puts, deletes: Collection[str]) -> Commit:
    """Divide a commit into changes of experts' folders and of other files.

    Raises:
        LibraryError: if something in a folder to be copied is not a file, such as a link.
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
    """Yield new and old name of each folder that is renamed, with no other change than its name's files."""
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
                f"only files of a library can be copied, but {quote(path)} in {quote(storage.url)} is "
                f"{KIND_WORDS[kind]}: remove it, or put a file in its place"
            )
    return {path[len(folder) + 1 :]: Stored(path) for path in found}
