"""A record of files whose SHA-256 was checked, so that each file is hashed only once.

A file is identified by device, inode, size and the times of its last changes. The record is kept in memory
and in the user's cache folder, one line per file. It is never in a library, where other users could modify
it.
"""

import hashlib
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock

from lorary.errors import FormatError
from lorary.experts.file_layout import Identity
from lorary.files import open_cache_folder, open_regular, write_whole

# Times of files have a resolution, within which changes cannot be detected; FAT's is two seconds.
SETTLED_NS = 2_000_000_000
FOLDER = "checked"
FILE = "weights.txt"
LINE_BYTES = 65
MOST_LINES = 40_000
_lock = Lock()


def was_checked(identity: Identity, sha256: str) -> bool:
    """Return whether the record has a file of this identity with this hash."""
    return _key(identity, sha256) in _read_known(os.environ.get("LORARY_CACHE"))


def remember_checked(identity: Identity, sha256: str) -> None:
    """Record that a file of this identity has this hash, unless it was changed in the last two seconds."""
    if time.time_ns() - max(identity[-2:]) < SETTLED_NS:
        return
    key = _key(identity, sha256)
    with _lock:
        _read_known(os.environ.get("LORARY_CACHE")).add(key)
        # Without a writable cache folder, the next process checks the file again.
        with suppress(OSError, RuntimeError):
            _append(open_cache_folder(FOLDER) / FILE, key)


def _key(identity: Identity, sha256: str) -> str:
    return hashlib.sha256(f"{identity} {sha256}".encode()).hexdigest()


@cache
def _read_known(cache_folder: str | None) -> set[str]:
    """Read the record of earlier processes; if it is too long, drop the older half."""
    with suppress(OSError, RuntimeError, ValueError, FormatError):
        path = open_cache_folder(FOLDER, make=False) / FILE
        with open_regular(path, follow=False) as file:
            lines = file.read(2 * MOST_LINES * LINE_BYTES).decode("ascii").splitlines()
        if len(lines) > MOST_LINES:
            lines = lines[-MOST_LINES // 2 :]
            write_whole(path, "".join(f"{line}\n" for line in lines))
        return set(lines)
    return set()


def _append(path: Path, key: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        os.write(descriptor, f"{key}\n".encode())
    finally:
        os.close(descriptor)
