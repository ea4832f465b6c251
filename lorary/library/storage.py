"""The few file operations a library needs, the same on a local disk and at any URL that fsspec knows."""

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

from lorary.experts.weights_file import StoredTensors
from lorary.library.lock import Lock

Kind = Literal["file", "folder", "link", "other"]
"""What a path names. A link is never followed; "other" is a named pipe, a device or a socket."""

KIND_WORDS: dict[Kind, str] = {
    "file": "a file",
    "folder": "a folder",
    "link": "a symbolic link",
    "other": "a named pipe, a device or a socket",
}
"""Each kind as it stands in messages."""


class Storage(Protocol):
    """A folder at a URL; every path is relative to it, with ``/`` between its parts, ``""`` being the folder.

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

    def make_folder(self, relative: str = "") -> None:
        """Make a folder and those above it within this one, unless it is there already."""

    def write(self, relative: str, content: bytes) -> None:
        """Write a file; when this returns, a local file is on the disk and not just in its cache."""

    def write_many(self, files: Mapping[str, bytes]) -> None:
        """Write files, path -> content, each as durably as ``write``."""

    def copy_file(self, source: str, target: str) -> None:
        """Copy one file, as durably as ``write``."""

    def move(self, source: str, target: str) -> None:
        """Give a file or folder another path; a folder must not be there yet.

        One step where the storage is local; elsewhere a copy and a removal.
        """

    def remove(self, relative: str) -> None:
        """Remove a file, a link, or a whole folder; do nothing where there is none."""

    def sync_folder(self, relative: str = "") -> None:
        """Bring a local folder's names to the disk, so that moves survive a power cut."""

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written here, or ``None`` where nobody can tell."""

    def identify(self) -> str:
        """Tell this folder from its copies, which an inode does; empty where nothing does."""

    def make_lock(self, relative: str) -> Lock:
        """Give the lock that a file stands for; the file is made when it is first held."""
