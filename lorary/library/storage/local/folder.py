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

# The only errors that mean that a path is missing.
ABSENT = (FileNotFoundError, NotADirectoryError)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class LocalFolder:
    """The file operations of ``LocalStorage``.

    When a method that writes returns, the content is flushed to the disk.

    Args:
        url: the library's URL, for messages.
        root: path of its own folder.
    """

    def __init__(self, url: str, root: str):
        self.url = url
        self.root = root
        self._walker = PathWalker(url, root)

    def path(self, relative: str) -> str:
        """Return a path in terms of the file system, for messages."""
        return self._walker.path(relative)

    def find_kind(self, relative: str = "") -> Kind | None:
        """Return the kind of a path; ``None`` if nothing is there."""
        try:
            if not relative:
                return read_kind(calls.look_at_root(self.root))
            with self._walker.parent(relative) as (parent, name):
                return read_kind(calls.look_at(name, parent))
        except ABSENT:
            return None

    def find_existing(self, relatives: Iterable[str]) -> set[str]:
        """Return those of many paths that exist."""
        return {relative for relative in relatives if self.find_kind(relative)}

    def list_kinds(self, relative: str = "") -> dict[str, Kind]:
        """List the direct content of a folder, sorted by name; empty if the folder is missing."""
        found: dict[str, Kind] = {}
        with suppress(FileNotFoundError), self._walker.folder(relative) as folder:
            for name in sorted(calls.list_names(folder)):
                # A name may have been removed since the folder was listed.
                with suppress(FileNotFoundError):
                    found[name] = read_kind(calls.look_at(name, folder))
        return found

    def walk(self, relative: str) -> dict[str, Kind]:
        """List everything at or below a path, except folders, by paths relative to this storage."""
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
        """Return for each of many small files its bytes or the error of reading it."""
        return {relative: self._read_small(relative) for relative in relatives}

    def read_tensors(self, relative: str) -> StoredTensors:
        """Memory-map a weights file."""
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
        """Make a folder and its parent folders within this one, unless it exists."""
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
            pass  # raises if the path exists and is not a folder

    def write(self, relative: str, content: bytes) -> None:
        """Write a file and flush it to the disk."""
        self.write_many({relative: content})

    def write_many(self, files: Mapping[str, bytes | Path]) -> None:
        """Write files, path -> content or a local file that has it, and flush them to the disk."""
        for relative, content in files.items():
            with self._walker.file(relative, calls.open_to_write) as file:
                for piece in split_content(content):
                    write_all(file, piece)
        # Flushed after all are written, since flushing many files takes hardly longer than flushing one.
        for relative in files:
            with self._walker.file(relative) as file:
                calls.sync(file)

    def copy_file(self, source: str, target: str) -> None:
        """Copy a file and flush the copy to the disk."""
        with self._walker.file(source) as file, self._walker.file(target, calls.open_to_write) as copied:
            for piece in read_pieces(file):
                write_all(copied, piece)
            calls.sync(copied)

    def move(self, source: str, target: str) -> None:
        """Move a file or folder in one step; if it is a folder, the target must not exist."""
        # Always a rename, since a copy can stop halfway.
        with (
            self._walker.parent(source) as (above, name),
            self._walker.parent(target) as (new_above, new_name),
        ):
            calls.rename(name, above, new_name, new_above)

    def remove(self, relative: str) -> None:
        """Remove a file, a link, or a folder with its content; a missing path is ignored."""
        with suppress(*ABSENT), self._walker.parent(relative) as (parent, name):
            remove_tree(name, parent)

    def sync_folder(self, relative: str = "") -> None:
        """Flush a folder's names to the disk, so that moves survive a power cut."""
        with self._walker.folder(relative) as folder:
            calls.sync(folder)

    def free_bytes(self) -> int | None:
        """Return the number of bytes that can still be written here; ``None`` if it is not known."""
        with suppress(OSError), self._walker.folder("") as folder:
            return calls.count_free(folder)
        return None

    def identify(self) -> str:
        """Return the folder's inode, which differs from those of its copies."""
        return str(calls.look_at_root(self.root).st_ino)

    def make_lock(self, relative: str) -> Lock:
        """Return the lock of a file; the file is made when the lock is first held."""
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
        """Open a lock file that has one name only.

        A file with several hard links could be two locks at once, and a process would wait for itself.
        """
        descriptor = self._walker.open_file(relative, calls.open_to_lock)
        if calls.look(descriptor).st_nlink > 1:
            calls.close(descriptor)
            raise LibraryError(
                f"lock file {quote(relative)} in library {quote(self.url)} must have one name, found several "
                "hard links: remove it, it will be made again"
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
    """Return the kind that a status describes."""
    kinds: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(status.st_mode), "other")
