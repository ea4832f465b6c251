"""The contract of a storage: how a library reads its files, and changes them by commits."""

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
"""What a path names. A link is never followed; "other" is a named pipe, a device or a socket."""

KIND_WORDS: dict[Kind, str] = {
    "file": "a file",
    "folder": "a folder",
    "link": "a symbolic link",
    "other": "a named pipe, a device or a socket",
}
"""Each kind as it stands in messages."""


@dataclass(frozen=True)
class Stored:
    """A file or a whole folder of the storage itself, as it was before the commit: nothing is downloaded."""

    path: str
    """Relative to the storage."""


Source = bytes | Path | Stored
"""What a put writes: bytes, a local file, or a copy of what is stored."""
Puts = Mapping[str, Source]
"""Path -> what shall be there. A folder is put by ``Stored``; files are put on top of it."""
Revision = str
"""Names the state that a commit made. What can be asked of it depends on the storage."""


FAILURES = (OSError, LibraryError, FormatError)
"""What a storage raises when it cannot do what it is asked for."""


class Outcome(Enum):
    """What became of a change, for whoever is told that it failed."""

    UNCHANGED = "The library is as it was"
    MADE = "The change itself was made"
    UNFINISHED = "The change is half made; whoever uses the library next finishes it, and nothing is lost"
    UNKNOWN = (
        "Whether the change was made could not be found out: list the library to see; it is whole either way"
    )


class RevisionMoved(LibraryError):
    """Somebody else committed since the change began: what it was planned on may not hold any more."""


class Change(Protocol):
    """What a writer may do while a change is open."""

    outcome: Outcome
    """What became of the commit."""

    def commit(self, puts: Puts, deletes: Collection[str] = ()) -> Revision:
        """Change the storage: remove paths, then put others.

        All experts' folders change together or not at all. What is right in the storage or in ``.lorary``,
        such as an artifact, is whole or not there, each file by itself.

        Args:
            puts: path -> source. What a ``Stored`` source names is copied as it was before the commit.
            deletes: files and whole folders, as they were before the commit; missing ones do no harm.

        Raises:
            RevisionMoved: if somebody else committed since the change began; nothing was changed.
            LibraryError: if something in a folder to be copied is no file.
            OSError: if the storage failed; ``outcome`` says what holds now, once the change is closed.
        """


class Storage(Protocol):
    """A folder at a URL; every path is relative to it, with ``/`` between its parts, ``""`` being the folder.

    It is read by paths and changed by commits alone: no file is renamed, moved or written in part.

    Nothing is there only where the file system says so: any other failure is an ``OSError``. A symbolic link
    on the way to something, or where a file or folder is expected, is a ``LibraryError`` that names it; what
    else is no regular file where one is expected, a ``FormatError``.
    """

    url: str
    """As it was given."""
    root: str
    """The folder's own path."""

    def path(self, relative: str) -> str:
        """Return the file system's own path of something in this folder, for messages."""

    def find_kind(self, relative: str = "") -> Kind | None:
        """Tell what is at this path; ``None`` if nothing is."""

    def find_existing(self, relatives: Iterable[str]) -> set[str]:
        """Tell which of many paths name anything, in as few requests as possible."""

    def list_kinds(self, relative: str = "") -> dict[str, Kind]:
        """List what is right in a folder, sorted by name; nothing if there is no such folder."""

    def walk(self, relative: str) -> dict[str, Kind]:
        """List all that lies at or below a path, relative to this storage, but no folders.

        Links below it are listed; a link at the path itself is refused.
        """

    def read(self, relative: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a file's bytes, or those from start to end; ``FileNotFoundError`` if it is missing."""

    def read_many(self, relatives: Iterable[str]) -> dict[str, bytes | Exception]:
        """Return the bytes of many small files, or what went wrong with each, in few requests."""

    def read_tensors(self, relative: str) -> StoredTensors:
        """Open a weights file; its numbers are mapped where the file is local."""

    def count_bytes(self, relative: str) -> int:
        """Return a file's size."""

    def hash(self, relative: str) -> str:
        """Return the SHA-256 of a file's bytes, reading it in pieces."""

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written here, or ``None`` where nobody can tell."""

    def make_root(self) -> None:
        """Make the storage's own folder, empty, unless it is there already."""

    def reading(self) -> AbstractContextManager[None]:
        """See one revision for the length of a ``with`` block: no commit is seen in part.

        Raises:
            LibraryError: if a writer keeps the storage for too long, or a change of somebody else is
                unfinished.
        """

    def changing(self) -> AbstractContextManager[Change]:
        """Read and change one revision for the length of a ``with`` block.

        What is read in the block holds when its commit is made. Storages with locks keep other writers out
        meanwhile; others refuse the commit by ``RevisionMoved``. However the block is left, nothing stays
        half done that can be finished or taken back now.

        Raises:
            LibraryError: as for ``reading``.
        """

    def tidy(self) -> None:
        """Finish and clear away what this user's dead writers left here, if no writer is at work."""

    def settle(self) -> list[tuple[str, str]]:
        """Finish and clear away what anybody left; return what was moved or copied, and where to.

        Raises:
            LibraryError: if a writer is at work, or what was left is not a library's change.
        """


def refuse_link(url: str, relative: str) -> str:
    """Say that something in a library is a symbolic link, and what to do."""
    return (
        f"{quote(relative)} in library {quote(url)} is a symbolic link, and none is followed inside a "
        "library: put what it leads to in its place, such as with `lorary library add`, or remove the link"
    )
