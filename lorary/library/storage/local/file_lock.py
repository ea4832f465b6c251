"""A lock that dies with the process that holds it, so that a killed writer never blocks the next one."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lorary.errors import LibraryError
from lorary.library.storage.local import calls
from lorary.library.storage.lock import LOCK_TIMEOUT_S

# Long enough not to spin, short enough that a swap (two renames) is hardly noticed.
POLL_S = 0.005


class FileLock:
    """A lock file taken with ``flock``: the kernel frees it when its process ends, however it ends.

    Args:
        open_file: ``shared`` -> the opened lock file, or ``None`` where nobody can write, so none is needed.
        owner: what is locked, for messages.
    """

    def __init__(self, open_file: Callable[[bool], int | None], owner: str):
        self._open_file = open_file
        self._owner = owner

    @contextmanager
    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Hold the lock for the length of a ``with`` block; not reentrant.

        Args:
            shared: let other shared holders in (readers); otherwise be alone (writers).
            timeout: seconds to wait for the others.

        Raises:
            LibraryError: if the others did not finish in time, or the lock file is a link.
            OSError: if the lock file can't be made and the lock is not shared. A shared lock is then
                not taken: where no lock file can be made, nobody writes through this mount.
        """
        descriptor = self._open_file(shared)
        if descriptor is None:
            yield
            return
        try:
            self._wait(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
            yield
        finally:
            self._give_back(descriptor)

    @staticmethod
    def _give_back(descriptor: int) -> None:
        """Free the lock, also if Ctrl-C comes meanwhile; what was done under it is done, whatever fails."""
        try:
            with suppress(OSError):
                # Closing alone would leave the lock to a child that was forked meanwhile.
                calls.lock(descriptor, fcntl.LOCK_UN)
        finally:
            with suppress(OSError):
                calls.close(descriptor)

    def _wait(self, descriptor: int, mode: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                calls.lock(descriptor, mode | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LibraryError(
                        f"{self._owner} is busy: another process has been using it for {timeout:.0f} s; "
                        "try again when that one is done"
                    ) from None
            time.sleep(POLL_S)
