"""Which files were found to have the hash that was noted for them, so that each is looked through once.

A file is known by its identity (device, inode, size, and when it and its inode were last changed). What was
found is kept for this process and, one line each, in the user's own cache folder: never in a library, where
others could write it.
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

# Clocks of file systems tick: what was written within one tick has one identity. Two seconds are FAT's.
SETTLED_NS = 2_000_000_000
FOLDER = "checked"
FILE = "weights.txt"
LINE_BYTES = 65
MOST_LINES = 40_000
_lock = Lock()


def was_checked(identity: Identity, sha256: str) -> bool:
    """Tell whether a file of this identity was found to have this hash."""
    return _key(identity, sha256) in _read_known(os.environ.get("LORARY_CACHE"))


def remember_checked(identity: Identity, sha256: str) -> None:
    """Note that a file of this identity has this hash, unless it was changed just now."""
    if time.time_ns() - max(identity[-2:]) < SETTLED_NS:
        return
    key = _key(identity, sha256)
    with _lock:
        _read_known(os.environ.get("LORARY_CACHE")).add(key)
        # Where nothing can be kept, the next process looks again.
        with suppress(OSError, RuntimeError):
            _append(open_cache_folder(FOLDER) / FILE, key)


def _key(identity: Identity, sha256: str) -> str:
    return hashlib.sha256(f"{identity} {sha256}".encode()).hexdigest()


@cache
def _read_known(cache_folder: str | None) -> set[str]:
    """Read what earlier processes found; of too much, the older half is dropped."""
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
