"""The contract of locks, and a lock for the threads of one process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Protocol

from lorary.errors import LibraryError

LOCK_TIMEOUT_S = 120.0


class Lock(Protocol):
    """A lock that excludes writers from each other, and readers from a swap."""

    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Within this context the lock is held; ``shared`` holders do not exclude each other."""


class ThreadLock:
    """A lock among the threads of this process, for file systems without lock files.

    For ``memory://`` it is sufficient, since no other process sees that file system.
    """

    # One lock for all storages, because two Library objects of one URL must exclude each other.
    _lock = RLock()

    def __init__(self, owner: str):
        self._owner = owner

    @contextmanager
    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Within this context the lock is held, whether ``shared`` or not."""
        if not self._lock.acquire(timeout=timeout):
            raise LibraryError(
                f"{self._owner} is busy: another thread has been using it for {timeout:.0f} s; try again "
                "when that thread has finished"
            )
        try:
            yield
        finally:
            self._lock.release()
