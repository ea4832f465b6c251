"""Compiled objects, kept where only this user could have put them, and loaded only if unchanged.

An object's name ends with the SHA-256 of its bytes: one step puts both in place, and damage to either is
detected. Folder and object are held open from the check to the loading, so that what is checked is what is
loaded.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lorary.files import open_cache_folder, quote, write_whole

LEFTOVERS = (".new-", ".lorary-")
"""Prefixes of names that are useless once the process that wrote them has ended."""
OLD = 24 * 3600  # seconds; no compilation takes that long

logger = logging.getLogger("lorary")


def open_folder() -> Path | None:
    """Open the folder of compiled objects; None, with a warning, if others can write to it."""
    try:
        return open_cache_folder("kernels")
    except (OSError, RuntimeError) as failure:  # RuntimeError: a user without a home
        logger.warning(
            "lorary's operators cannot be kept, so every process compiles them again, which takes "
            "seconds: %s: set LORARY_CACHE to a folder of your own",
            quote(str(failure)),
        )
        return None


def load_kept(folder: Path, key: str) -> ctypes.CDLL | None:
    """Load the object of a key; one that is damaged or cannot be loaded is removed.

    Args:
        folder: from ``open_folder``.
        key: what the object depends on, as letters and digits.

    Returns:
        The loaded object; None if there is no intact one.
    """
    try:
        with _open_folder(folder) as place:
            for name in sorted(os.listdir(place)):
                if name.startswith(f"cpu-{key}-") and (loaded := _load_or_remove(folder, place, name)):
                    return loaded
    except OSError as failure:
        logger.info("%s cannot be used: %s", quote(str(folder)), quote(str(failure)))
    return None


def keep_object(folder: Path, key: str, built: Path) -> ctypes.CDLL | None:
    """Write an object into the folder, completely or not at all, and load it from there.

    Two processes may do so at once. Files that killed processes left behind are removed.

    Returns:
        The loaded object; None if it cannot be kept, or cannot be loaded from there.
    """
    content = built.read_bytes()
    try:
        _remove_leftovers(folder)
        write_whole(folder / f"cpu-{key}-{hashlib.sha256(content).hexdigest()}.so", content)
    except OSError as failure:
        logger.warning("lorary's operators cannot be kept: %s", quote(str(failure)))
        return None
    return load_kept(folder, key)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    """Hold a folder open; meanwhile another folder may take its name, if others may write to its parent."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(place)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(f"{quote(str(folder))} is not this user's alone")
        yield place
    finally:
        os.close(place)


def _load_or_remove(folder: Path, place: int, name: str) -> ctypes.CDLL | None:
    try:
        return _load_whole(folder, place, name)
    except OSError as failure:
        logger.info("%s is not used and is built again: %s", quote(str(folder / name)), quote(str(failure)))
        _remove(place, name)
        return None


def _load_whole(folder: Path, place: int, name: str) -> ctypes.CDLL:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=place)
    try:
        status = os.fstat(descriptor)
        # Others may have put it here, if the folder was once open to them.
        is_own = status.st_uid == os.geteuid() and status.st_nlink == 1 and not status.st_mode & 0o022
        if not stat.S_ISREG(status.st_mode) or not is_own:
            raise OSError("it is not a file of this user's alone")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not name.endswith(f"-{digest}.so"):
            raise OSError("its bytes are not those that were written")
        opened = f"/proc/self/fd/{descriptor}"
        if os.path.exists(opened):
            # Left open: the loader treats a name that it knows as the same object.
            return ctypes.CDLL(opened)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return ctypes.CDLL(str(folder / name))


def _remove(place: int, name: str) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=place)
        else:
            os.unlink(name, dir_fd=place)


def _remove_leftovers(folder: Path) -> None:
    with _open_folder(folder) as place:
        for name in os.listdir(place):
            if name.startswith(LEFTOVERS):
                with suppress(OSError):
                    age = time.time() - os.stat(name, dir_fd=place, follow_symlinks=False).st_mtime
                    if age > OLD:
                        _remove(place, name)
