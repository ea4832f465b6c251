"""Opening what others named: only regular files, and no more of them than is asked for."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import FormatError
from lorary.files.limits import LIMITS
from lorary.files.quoting import quote

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading; a named pipe or a device is refused instead of waited for.

    Args:
        path: the file's path.
        follow: whether the last part of the path may be a symbolic link.

    Raises:
        OSError: if it cannot be opened; with ``follow=False`` also (ELOOP) if it is a link.
        IsADirectoryError: if it is a folder.
        FormatError: if it is anything else than a file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what a socket says
            require_regular(os.stat(path), os.fspath(path))
        raise
    try:
        require_regular(os.fstat(descriptor), os.fspath(path))
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


@contextmanager
def refuse_irregular(path: str) -> Iterator[None]:
    """Refuse a file that turns out to be a folder, or a link that leads nowhere but to itself.

    Args:
        path: the file's, for the message.

    Raises:
        FormatError: in place of what the system raised within.
    """
    try:
        yield
    except OSError as error:
        found = {errno.EISDIR: "a folder", errno.ELOOP: "links that lead to each other"}.get(error.errno or 0)
        if found is None:
            raise
        raise FormatError(
            f"{quote(path)} must be a regular file, found {found}: give the file itself"
        ) from error


def require_regular(status: os.stat_result, path: str) -> None:
    """Refuse what is no regular file, naming what it is; see ``open_regular``."""
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, os.strerror(21), path)
    found = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
    raise FormatError(f"{quote(path)} must be a regular file, found {found}: give the file itself")


def read_at_most(fs: AbstractFileSystem, path: str, limit: str = "json_mb") -> bytes:
    """Return the bytes of a small file.

    Args:
        fs: the file system it lies on.
        path: the file's path there.
        limit: the key of ``LIMITS`` that says how many megabytes are read.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if it is larger, or no regular file.
    """
    most = LIMITS[limit].num_bytes
    if isinstance(fs, LocalFileSystem):
        with open_regular(path) as file:
            # As many bytes as are asked for are set aside beforehand.
            content = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    else:
        content = bytes(fs.cat_file(path, start=0, end=most + 1))
    if len(content) > most:
        raise FormatError(f"{quote(path)} is too large: {LIMITS[limit].advice}")
    return content
