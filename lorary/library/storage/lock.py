"""What a lock is, and one for the threads of this process."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import RLock
from typing import Protocol

from lorary.errors import LibraryError

LOCK_TIMEOUT_S = 120.0


class Lock(Protocol):
    """What keeps writers apart, and readers out of a swap."""

    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Hold the lock for the length of a ``with`` block."""


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
