"""Locks that die with the process that holds them, so that a killed writer never blocks the next one."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Protocol

from lorary.errors import LibraryError

LOCK_TIMEOUT_S = 120.0
# Long enough not to spin, short enough that a swap (two renames) is hardly noticed.
POLL_S = 0.005
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Lock(Protocol):
    """What keeps writers apart, and readers out of a swap."""

    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Hold the lock for the length of a ``with`` block."""


class FileLock:
    """A lock file taken with ``flock``: the kernel frees it when its process ends, however it ends."""

    def __init__(self, path: str, owner: str):
        self._path = path
        self._owner = owner

    @contextmanager
    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the lock for the length of a ``with`` block; not reentrant.

        Args:
            shared: let other shared holders in (readers); otherwise be alone (writers).
            timeout: seconds to wait for the others.

        Raises:
            LibraryError: if the others did not finish in time.
            OSError: if the lock file can't be made and the lock is not shared. A shared lock is then
                not taken: where no lock file can be made, nobody writes through this mount.
        """
        descriptor = self._open(shared)
        if descriptor is None:
            yield
            return
        try:
            self._wait(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
            yield
        finally:
            # Closing alone would leave the lock to a child that was forked meanwhile.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _open(self, shared: bool) -> int | None:
        try:
            # Not makedirs: a library that was removed must not come back as an empty folder.
            if not os.path.isdir(os.path.dirname(self._path)):
                os.mkdir(os.path.dirname(self._path))
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return self._open(shared)
        except OSError as error:
            if error.errno not in _REFUSED and not (shared and error.errno == errno.ENOENT):
                raise
            return self._open_read_only(shared, error)

    def _open_read_only(self, shared: bool, refusal: OSError) -> int | None:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            if shared:
                return None
            raise refusal from None

    def _wait(self, descriptor: int, mode: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LibraryError(
                        f"{self._owner} is busy: another process has been using it for {timeout:.0f} s; "
                        "try again when that one is done"
                    ) from None
            time.sleep(POLL_S)


class ThreadLock:
    """The best there is without lock files: keeps the threads of this process apart.

    It is all that ``memory://`` needs, since no other process sees that file system.
    """

    # One for all stores: two Library objects at one URL must exclude each other.
    _lock = RLock()

    def __init__(self, owner: str):
        self._owner = owner

    @contextmanager
    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the lock for the length of a ``with`` block; ``shared`` makes no difference."""
        if not self._lock.acquire(timeout=timeout):
            raise LibraryError(f"{self._owner} is busy: another thread has been using it for {timeout:.0f} s")
        try:
            yield
        finally:
            self._lock.release()
