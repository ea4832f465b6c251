"""The file operations of a library on an fsspec file system other than a local disk."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from lorary.errors import FormatError
from lorary.experts.weights_file import StoredTensors, load_tensors
from lorary.files import LIMITS, quote
from lorary.library.storage.contract import Kind

PIECE_BYTES = 1 << 20
ABSENT = (FileNotFoundError, NotADirectoryError)


class RemoteFolder:
    """The file operations of ``RemoteStorage``. Such file systems have no links and no atomic moves."""

    def __init__(self, url: str, fs: AbstractFileSystem, root: str):
        self.url = url
        self.fs = fs
        self.root = root

    def path(self, relative: str) -> str:
        """Return a path in terms of the file system."""
        return f"{self.root}/{relative}" if relative else self.root

    def find_kind(self, relative: str = "") -> Kind | None:
        """Return the kind of a path; ``None`` if nothing is there."""
        try:
            # Not fs.exists, which returns False for any failure.
            found = self.fs.info(self.path(relative))
        except ABSENT:
            return None
        return "folder" if found["type"] == "directory" else "file"

    def find_existing(self, relatives: Iterable[str]) -> set[str]:
        """Return those of many paths of small files that exist, in as few requests as possible."""
        found = self.read_many(relatives)
        for content in found.values():
            if isinstance(content, OSError) and not isinstance(content, ABSENT):
                raise content
        return {relative for relative, content in found.items() if not isinstance(content, ABSENT)}

    def list_kinds(self, relative: str = "") -> dict[str, Kind]:
        """List the direct content of a folder, sorted by name; empty if the folder is missing."""
        folder = self.path(relative)
        # fsspec may have cached an older listing.
        self.fs.invalidate_cache(folder)
        try:
            listed = self.fs.ls(folder, detail=True)
        except FileNotFoundError:
            return {}
        kinds: dict[str, Kind] = {
            found["name"].rstrip("/").rsplit("/", 1)[-1]: "folder" if found["type"] == "directory" else "file"
            for found in listed
        }
        return dict(sorted(kinds.items()))

    def walk(self, relative: str) -> dict[str, Kind]:
        """List everything at or below a path, except folders, by paths relative to this storage."""
        found = self.fs.find(self.path(relative))
        return {path[len(self.root) + 1 :]: "file" for path in sorted(found)}

    def read(self, relative: str, start: int = 0, end: int | None = None) -> bytes:
        """Return a file's bytes, or those from start to end; ``FileNotFoundError`` if it is missing."""
        return bytes(self.fs.cat_file(self.path(relative), start=start, end=end))

    def read_many(self, relatives: Iterable[str]) -> dict[str, bytes | Exception]:
        """Return for each of many small files its bytes or the error of reading it, in few requests."""
        names = list(relatives)
        limit = LIMITS["json_mb"]
        most = limit.num_bytes
        # Not fs.cat, which would read a '[' or '*' in a name as a pattern.
        paths = [self.path(name) for name in names]
        contents: list[Any] = self.fs.cat_ranges(paths, 0, most + 1, on_error="return") if paths else []
        for place, content in enumerate(contents):
            if not isinstance(content, Exception) and len(content) > most:
                contents[place] = FormatError(f"{quote(paths[place])} is too large: {limit.advice}")
        return dict(zip(names, contents, strict=True))

    def read_tensors(self, relative: str) -> StoredTensors:
        """Read a weights file into memory."""
        return load_tensors(self.read(relative), self.path(relative))

    def count_bytes(self, relative: str) -> int:
        """Return a file's size."""
        return int(self.fs.size(self.path(relative)))

    def hash(self, relative: str) -> str:
        """Return the SHA-256 of a file's bytes, reading it in pieces."""
        digest = hashlib.sha256()
        with self.fs.open(self.path(relative), "rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def make_folder(self, relative: str = "") -> None:
        """Make a folder and its parent folders, unless it exists."""
        self.fs.makedirs(self.path(relative), exist_ok=True)

    def write(self, relative: str, content: bytes) -> None:
        """Write a file."""
        self.write_many({relative: content})

    def write_many(self, files: Mapping[str, bytes | Path]) -> None:
        """Write files, path -> content or the local file that has it."""
        for relative, content in files.items():
            self.make_folder(relative.rpartition("/")[0])
            if isinstance(content, Path):
                self.fs.put_file(str(content), self.path(relative))
                continue
            with self.fs.open(self.path(relative), "wb") as file:
                file.write(content)

    def create(self, relative: str, content: bytes) -> None:
        """Create a file; raise ``FileExistsError`` if it exists."""
        self.make_folder(relative.rpartition("/")[0])
        self.fs.pipe_file(self.path(relative), content, mode="create")

    def copy_file(self, source: str, target: str) -> None:
        """Copy one file."""
        self.make_folder(target.rpartition("/")[0])
        self.fs.cp_file(self.path(source), self.path(target))

    def remove(self, relative: str) -> None:
        """Remove a file, or a folder with its content; a missing path is ignored."""
        path = self.path(relative)
        # Not fs.rm, which would read a '[' or '*' in a name as a pattern.
        below = self.fs.find(path, withdirs=True, detail=True)
        for found in sorted(below, reverse=True):
            if below[found]["type"] == "file":
                self.fs.rm_file(found)
            elif found != path:
                self.fs.rmdir(found)
        if self.find_kind(relative) == "folder":
            self.fs.rmdir(path)

    def free_bytes(self) -> int | None:
        """Return ``None``, since it is not known."""
        return None

    def identify(self) -> str:
        """Return the folder's path, which differs from those of its copies."""
        return f"{self.fs.protocol}{self.root}"
