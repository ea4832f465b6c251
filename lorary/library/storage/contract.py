"""The contract of a storage: a library reads files by paths, and changes them by commits."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from lorary.errors import FormatError, LibraryError
from lorary.experts.weights_file import StoredTensors
from lorary.files import quote

Kind = Literal["file", "folder", "link", "other"]
"""The kind of a path. A link is never followed; "other" is a named pipe, a device or a socket."""

KIND_WORDS: dict[Kind, str] = {
    "file": "a file",
    "folder": "a folder",
    "link": "a symbolic link",
    "other": "a named pipe, a device or a socket",
}
"""Each kind as it is worded in messages."""


@dataclass(frozen=True)
class Stored:
    """A put's source: a file or folder of the storage, as before the commit. Nothing is downloaded."""

    path: str
    """Relative to the storage."""


Source = bytes | Path | Stored
"""The source of a put: bytes, a local file, or a stored file or folder to be copied."""
Puts = Mapping[str, Source]
"""Path -> source. A folder is put by ``Stored``; files of the same commit are then put into it."""
Revision = str
"""Name of the state that a commit made. Its meaning depends on the storage."""


FAILURES = (OSError, LibraryError, FormatError)
"""The errors of a failing storage."""


class Outcome(Enum):
    """The state of the library after a change that failed, worded for messages."""

    UNCHANGED = "The library is unchanged"
    MADE = "The change itself was made"
    UNFINISHED = "The change is half made: the next access to the library finishes it, and nothing is lost"
    UNKNOWN = (
        "It is not known whether the change was made: list the library to find out; it is consistent in both "
        "cases"
    )


class RevisionMoved(LibraryError):
    """Another writer committed since the change began, so the change must be planned again."""


class Change(Protocol):
    """An open change, by which a writer commits."""

    outcome: Outcome
    """The result of the commit."""

    def commit(self, puts: Puts, deletes: Collection[str] = ()) -> Revision:
        """Change the storage: remove some paths, then put others.

        All experts' folders change together or not at all. A file directly in the storage or below
        ``.lorary``, such as an artifact, is written completely or not at all, independently of others.

        Args:
            puts: path -> source. ``Stored`` sources are copied as they were before the commit.
            deletes: files and folders, as they were before the commit; missing paths are ignored.

        Raises:
            RevisionMoved: if another writer committed since the change began; nothing was changed.
            LibraryError: if something in a folder to be copied is not a file.
            OSError: if the storage failed; ``outcome`` has the result, once the change is closed.
        """


class Storage(Protocol):
    """A folder at a URL. Paths are relative to it, with ``/`` between parts; ``""`` is the folder itself.

    It is read by paths and changed by commits only: users of a storage never rename, move or write files.

    A path counts as missing only if the file system reports it as missing; any other failure is an
    ``OSError``. A symbolic link anywhere in a path is a ``LibraryError`` that names it. Something else than a
    regular file in place of a file is a ``FormatError``.
    """

    url: str
    """The URL as given by the user."""
    root: str
    """The folder's path in its file system."""

    def path(self, relative: str) -> str:
        """Return a path in terms of the file system, for messages."""

    def find_kind(self, relative: str = "") -> Kind | None:
        """Return the kind of a path; ``None`` if nothing is there."""

    def find_existing(self, relatives: Iterable[str]) -> set[str]:
        """Return those of many paths that exist, in as few requests as possible."""

    def list_kinds(self, relative: str = "") -> dict[str, Kind]:
        """List the direct content of a folder, sorted by name; empty if the folder is missing."""

    def walk(self, relative: str) -> dict[str, Kind]:
        """List everything at or below a path, except folders, by paths relative to this storage.

        Links below it are listed; a link at the path itself is refused.
        """

    def read(self, relative: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a file's bytes, or those from start to end; ``FileNotFoundError`` if it is missing."""

    def read_many(self, relatives: Iterable[str]) -> dict[str, bytes | Exception]:
        """Return for each of many small files its bytes or the error of reading it, in few requests."""

    def read_tensors(self, relative: str) -> StoredTensors:
        """Open a weights file; a local file is memory-mapped."""

    def count_bytes(self, relative: str) -> int:
        """Return a file's size."""

    def hash(self, relative: str) -> str:
        """Return the SHA-256 of a file's bytes, reading it in pieces."""

    def free_bytes(self) -> int | None:
        """Return the number of bytes that can still be written here; ``None`` if it is not known."""

    def make_root(self) -> None:
        """Make the storage's own folder, unless it exists."""

    def reading(self) -> AbstractContextManager[None]:
        """Within this context, all reads see one revision: no commit is seen in part.

        Raises:
            LibraryError: if a writer holds the storage for too long, or a change of another machine or user
                is unfinished.
        """

    def changing(self) -> AbstractContextManager[Change]:
        """Within this context, read and change one revision.

        Everything that is read in the block is still valid when its commit is made: storages with locks keep
        other writers out; others refuse the commit by ``RevisionMoved``. When the block is left, a change
        that was made in part is finished or undone if possible.

        Raises:
            LibraryError: as for ``reading``.
        """

    def tidy(self) -> None:
        """Finish and remove what this user's killed writers left, unless another writer is active."""

    def settle(self) -> list[tuple[str, str]]:
        """Finish and remove what any writer left; return source and target of each move or copy.

        Raises:
            LibraryError: if a writer is active, or the journal is not one that a library writes.
        """


def refuse_link(url: str, relative: str) -> str:
    """Return the error message about a symbolic link in a library."""
    return (
        f"{quote(relative)} in library {quote(url)} is a symbolic link, and links inside a library are not "
        "followed: put the link's target in its place, for example with `lorary library add`, or remove the "
        "link"
    )
