"""Opening files at untrusted paths: only regular files, and no more of them than is needed."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from hashlib import sha256
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
_PART = 2**20


def open_regular(path: str | os.PathLike[str], *, follow: bool = True) -> BinaryIO:
    """Open a regular file for reading; a named pipe or a device is refused instead of waited for.

    Args:
        path: the file's path.
        follow: whether the last part of the path may be a symbolic link.

    Raises:
        OSError: if it cannot be opened; with ``follow=False`` also (ELOOP) if it is a link.
        FormatError: if it is not a regular file, or is a link to itself.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        with refuse_loops(os.fspath(path)) if follow else nullcontext():
            descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ENXIO:  # the error of a socket
            require_regular(os.stat(path), os.fspath(path))
        raise
    try:
        require_regular(os.fstat(descriptor), os.fspath(path))
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


@contextmanager
def refuse_loops(path: str) -> Iterator[None]:
    """Refuse a link to itself.

    Args:
        path: the file's, for the message.

    Raises:
        FormatError: in place of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise _explain(path, "links that lead to each other") from error


def require_regular(status: os.stat_result, path: str) -> None:
    """Refuse what is not a regular file, naming what it is; see ``open_regular``."""
    if not stat.S_ISREG(status.st_mode):
        raise _explain(path, _KINDS.get(stat.S_IFMT(status.st_mode), "something else"))


def _explain(path: str, found: str) -> FormatError:
    return FormatError(f"{quote(path)} must be a regular file, found {found}: give the file itself")


def read_at_most(
    path: str | os.PathLike[str],
    limit: str = "json_mb",
    *,
    fs: AbstractFileSystem | None = None,
    follow: bool = True,
) -> bytes:
    """Return the bytes of a small file.

    Args:
        path: the file's path.
        limit: the key of ``LIMITS`` for the maximum number of megabytes.
        fs: its file system; None for the local one.
        follow: on the local file system, whether the last part of the path may be a symbolic link.

    Raises:
        FileNotFoundError: if there is no such file.
        FormatError: if it is larger, or not a regular file.
        OSError: as ``open_regular``.
    """
    most = LIMITS[limit].num_bytes
    if fs is None or isinstance(fs, LocalFileSystem):
        with open_regular(path, follow=follow) as file:
            # A read allocates as many bytes as are requested.
            content = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    else:
        content = bytes(fs.cat_file(os.fspath(path), start=0, end=most + 1))
    if len(content) > most:
        raise FormatError(f"{quote(os.fspath(path))} is too large: {LIMITS[limit].advice}")
    return content


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a local file's bytes.

    Raises:
        OSError: if it cannot be read, or is a link.
        FormatError: if it is not a regular file.
    """
    digest = sha256()
    with open_regular(path, follow=False) as file:
        while part := file.read(_PART):
            digest.update(part)
    return digest.hexdigest()
