"""The few file operations a library needs, at any fsspec URL, durable where the file system is local."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import LibraryError

HASH_PIECE_BYTES = 1 << 20


class Storage:
    """A folder at a URL; every path is relative to it, with ``/`` between its parts."""

    def __init__(self, url: str | os.PathLike[str]):
        self.url = os.fspath(url)
        try:
            self.fs, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            raise LibraryError(f"{self.url!r} needs a package that is not installed: {error}") from error
        except ValueError as error:
            raise LibraryError(
                f"{self.url!r} is not a place lorary can reach ({error}): "
                "give a folder, or a URL such as 'memory://name'"
            ) from error
        self.root = root.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def path(self, relative: str) -> str:
        """Return the file system's own path of something in this folder."""
        return f"{self.root}/{relative}" if relative else self.root

    def exists(self, relative: str = "") -> bool:
        """Return whether there is a file or folder at this path."""
        return bool(self.fs.exists(self.path(relative)))

    def is_folder(self, relative: str = "") -> bool:
        """Return whether there is a folder at this path."""
        return bool(self.fs.isdir(self.path(relative)))

    def list_names(self, relative: str = "") -> list[str]:
        """List the names of the files and folders right in a folder; none if there is no such folder."""
        folder = self.path(relative)
        # A remote file system may remember an older listing.
        self.fs.invalidate_cache(folder)
        try:
            found = self.fs.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def list_files(self, relative: str) -> list[str]:
        """List every file at or below a path, relative to this storage."""
        return [found[len(self.root) + 1 :] for found in self.fs.find(self.path(relative))]

    def read(self, relative: str, start: int | None = None, end: int | None = None) -> bytes:
        """Return a file's bytes, or those from start to end; ``FileNotFoundError`` if it is missing."""
        return bytes(self.fs.cat_file(self.path(relative), start=start, end=end))

    def read_many(self, relatives: Iterable[str]) -> dict[str, bytes | Exception]:
        """Return the bytes of many files, or what went wrong with each, in as few requests as possible."""
        names = list(relatives)
        # Not fs.cat: that would take a '[' or '*' in a folder's name for a pattern.
        paths = [self.path(name) for name in names]
        contents: list[Any] = self.fs.cat_ranges(paths, None, None, on_error="return") if paths else []
        return dict(zip(names, contents, strict=True))

    def count_bytes(self, relative: str) -> int:
        """Return a file's size."""
        return int(self.fs.size(self.path(relative)))

    def hash(self, relative: str) -> str:
        """Return the SHA-256 of a file's bytes, reading it in pieces."""
        digest = hashlib.sha256()
        with self.fs.open(self.path(relative), "rb") as file:
            while piece := file.read(HASH_PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def make_folder(self, relative: str = "") -> None:
        """Make a folder and those above it, unless it is there already."""
        self.fs.makedirs(self.path(relative), exist_ok=True)

    def write(self, relative: str, content: bytes) -> None:
        """Write a file; when this returns, a local file is on the disk and not just in its cache."""
        self.write_many({relative: content})

    def write_many(self, files: Mapping[str, bytes]) -> None:
        """Write files, each as durably as ``write``.

        Args:
            files: path -> content.
        """
        for relative, content in files.items():
            with self.fs.open(self.path(relative), "wb") as file:
                file.write(content)
        # Only now: a disk brings many files to rest in hardly more time than one.
        if self.is_local:
            for relative in files:
                self._sync(relative)

    def copy_file(self, source: str, target: str) -> None:
        """Copy one file, as durably as ``write``."""
        self.fs.cp_file(self.path(source), self.path(target))
        if self.is_local:
            self._sync(target)

    def move(self, source: str, target: str) -> None:
        """Give a file or folder another path in one step; a folder must not be there yet.

        Where the file system isn't local this is the best available: a copy and a removal.
        """
        if self.is_local:
            # Not fs.mv: shutil.move copies where a rename fails, and a copy can stop half-way.
            os.rename(self.path(source), self.path(target))
            return
        for file in self.list_files(source):
            copied = target + file[len(source) :]
            self.make_folder(copied.rpartition("/")[0])
            self.copy_file(file, copied)
        self.remove(source)

    def remove(self, relative: str) -> None:
        """Remove a file or a whole folder; do nothing where there is none."""
        path = self.path(relative)
        if self.is_local:
            if os.path.lexists(path):
                self.fs.rm(path, recursive=True)
            return
        # Not fs.rm, which would take a '[' or '*' in a name for a pattern.
        below = self.fs.find(path, withdirs=True, detail=True)
        for found in sorted(below, reverse=True):
            if below[found]["type"] == "file":
                self.fs.rm_file(found)
            elif found != path:
                self.fs.rmdir(found)
        if self.fs.isdir(path):
            self.fs.rmdir(path)

    def sync_folder(self, relative: str = "") -> None:
        """Bring a local folder's names to the disk, so that moves survive a power cut."""
        if self.is_local:
            self._sync(relative)

    def free_bytes(self) -> int | None:
        """Return how many bytes can still be written here, or ``None`` where nobody can tell."""
        return shutil.disk_usage(self.root).free if self.is_local else None

    def _sync(self, relative: str) -> None:
        descriptor = os.open(self.path(relative), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
