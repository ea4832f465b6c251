"""The file operations of a library on a local disk."""

import errno
import hashlib
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from lorary.errors import FormatError, LibraryError, LoraryError
from lorary.experts.weights_file import StoredTensors, map_tensors
from lorary.files import LIMITS, quote
from lorary.library.storage.contract import Kind, refuse_link
from lorary.library.storage.local import calls
from lorary.library.storage.local.file_lock import FileLock
from lorary.library.storage.local.path_walker import PathWalker
from lorary.library.storage.local.pieces import read_pieces, split_content, write_all
from lorary.library.storage.local.trees import remove_tree, walk_tree
from lorary.library.storage.lock import Lock

# What says that nothing is there; every other failure says nothing of the sort.
ABSENT = (FileNotFoundError, NotADirectoryError)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class LocalFolder:
    """The file operations beneath ``LocalStorage``.

    What is written is on the disk for good when ``write`` and its like return.
    """

    def __init__(self, url: str, root: str):
        self.url = url
        self.root = root
        self._walker = PathWalker(url, root)

    def path(self, relative: str) -> str:
        """Return the path of something in this folder, for messages."""
        return self._walker.path(relative)

    def find_kind(self, relative: str = "") -> Kind | None:
        """Tell what is at this path; ``None`` if nothing is."""
        try:
            if not relative:
                return read_kind(calls.look_at_root(self.root))
            with self._walker.parent(relative) as (parent, name):
                return read_kind(calls.look_at(name, parent))
        except ABSENT:
            return None

    def find_existing(self, relatives: Iterable[str]) -> set[str]:
        """Tell which of many paths name anything."""
        return {relative for relative in relatives if self.find_kind(relative)}

    def list_kinds(self, relative: str = "") -> dict[str, Kind]:
        """List what is right in a folder, sorted by name; nothing if there is no such folder."""
        found: dict[str, Kind] = {}
        with suppress(FileNotFoundError), self._walker.folder(relative) as folder:
            for name in sorted(calls.list_names(folder)):
                # What was removed meanwhile is not there.
                with suppress(FileNotFoundError):
                    found[name] = read_kind(calls.look_at(name, folder))
        return found

    def walk(self, relative: str) -> dict[str, Kind]:
        """List all that lies at or below a path, relative to this storage, but no folders."""
        kind = self.find_kind(relative)
        if kind is None:
            return {}
        if kind == "link":
            raise LibraryError(refuse_link(self.url, relative))
        if kind != "folder":
            return {relative: kind}
        with self._walker.folder(relative) as folder:
            found = walk_tree(folder)
        return {f"{relative}/{name}": read_kind(status) for name, status in sorted(found.items())}

    def read(self, relative: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a file's bytes, or those from start to end; ``FileNotFoundError`` if it is missing."""
        with self._walker.file(relative) as file:
            return b"".join(read_pieces(file, start, end))

    def read_many(self, relatives: Iterable[str]) -> dict[str, bytes | Exception]:
        """Return the bytes of many small files, or what went wrong with each."""
        return {relative: self._read_small(relative) for relative in relatives}

    def read_tensors(self, relative: str) -> StoredTensors:
        """Map a weights file."""
        with self._walker.file(relative) as descriptor, open(descriptor, "rb", closefd=False) as file:
            return map_tensors(file, self.path(relative))

    def count_bytes(self, relative: str) -> int:
        """Return a file's size."""
        with self._walker.parent(relative) as (parent, name):
            return calls.look_at(name, parent).st_size

    def hash(self, relative: str) -> str:
        """Return the SHA-256 of a file's bytes, reading it in pieces."""
        digest = hashlib.sha256()
        with self._walker.file(relative) as file:
            for piece in read_pieces(file):
                digest.update(piece)
        return digest.hexdigest()

    def make_folder(self, relative: str = "") -> None:
        """Make a folder and those above it within this one, unless it is there already."""
        if not relative:
            calls.make_root(self.root)
            return
        above, _, name = relative.rpartition("/")
        if self.find_kind(relative) is None:
            if above:
                self.make_folder(above)
            with self._walker.folder(above) as parent, suppress(FileExistsError):
                calls.make_folder(name, parent)
        with self._walker.folder(relative):
            pass  # what is there is a folder

    def write(self, relative: str, content: bytes) -> None:
        """Write a file; when this returns, it is on the disk and not just in its cache."""
        self.write_many({relative: content})

    def write_many(self, files: Mapping[str, bytes | Path]) -> None:
        """Write files, path -> content or the file that has it, each as durably as ``write``."""
        for relative, content in files.items():
            with self._walker.file(relative, calls.open_to_write) as file:
                for piece in split_content(content):
                    write_all(file, piece)
        # Only now: a disk brings many files to rest in hardly more time than one.
        for relative in files:
            with self._walker.file(relative) as file:
                calls.sync(file)

    def copy_file(self, source: str, target: str) -> None:
        """Copy one file, as durably as ``write``."""
        with self._walker.file(source) as file, self._walker.file(target, calls.open_to_write) as copied:
            for piece in read_pieces(file):
                write_all(copied, piece)
            calls.sync(copied)

    def move(self, source: str, target: str) -> None:
        """Give a file or folder another path in one step; a folder must not be there yet."""
        # Never a copy, which can stop half-way.
        with (
            self._walker.parent(source) as (above, name),
            self._walker.parent(target) as (new_above, new_name),
        ):
            calls.rename(name, above, new_name, new_above)

    def remove(self, relative: str) -> None:
        """Remove a file, a link, or a whole folder; do nothing where there is none."""
        with suppress(*ABSENT), self._walker.parent(relative) as (parent, name):
            remove_tree(name, parent)

    def sync_folder(self, relative: str = "") -> None:
        """Bring a folder's names to the disk, so that moves survive a power cut."""
        with self._walker.folder(relative) as folder:
            calls.sync(folder)

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written here, or ``None`` where nobody can tell."""
        with suppress(OSError), self._walker.folder("") as folder:
            return calls.count_free(folder)
        return None

    def identify(self) -> str:
        """Tell this folder from its copies."""
        return str(calls.look_at_root(self.root).st_ino)

    def make_lock(self, relative: str) -> Lock:
        """Give the lock that a file stands for; the file is made when it is first held."""
        return FileLock(partial(self._open_lock, relative), f"library {quote(self.url)}")

    def _open_lock(self, relative: str, shared: bool) -> int | None:
        try:
            try:
                return self._open_alone(relative)
            except FileNotFoundError:
                self.make_folder(relative.rpartition("/")[0])
                return self._open_alone(relative)
        except OSError as error:
            if error.errno not in _REFUSED and not (shared and error.errno == errno.ENOENT):
                raise
            refusal = error
        try:
            return self._walker.open_file(relative, calls.open_to_read)
        except OSError as error:
            if shared and error.errno in (*_REFUSED, errno.ENOENT):
                return None
            raise refusal from None

    def _open_alone(self, relative: str) -> int:
        """Open a lock file; one with several names may be another lock too, and would wait for itself."""
        descriptor = self._walker.open_file(relative, calls.open_to_lock)
        if calls.look(descriptor).st_nlink > 1:
            calls.close(descriptor)
            raise LibraryError(
                f"{quote(relative)} in library {quote(self.url)} has other names, so it is no lock: "
                "remove it, it is made anew"
            )
        return descriptor

    def _read_small(self, relative: str) -> bytes | Exception:
        most = LIMITS["json_mb"].num_bytes
        try:
            content = self.read(relative, end=most + 1)
        except (OSError, LoraryError) as error:
            return error
        if len(content) > most:
            return FormatError(f"{quote(self.path(relative))} is too large: {LIMITS['json_mb'].advice}")
        return content


def read_kind(status: calls.Status) -> Kind:
    """Tell what a file system's status is of."""
    kinds: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(status.st_mode), "other")
