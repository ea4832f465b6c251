"""A file lock that is released when its process ends, so that a killed writer does not block others."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lorary.errors import LibraryError
from lorary.library.storage.local import calls
from lorary.library.storage.lock import LOCK_TIMEOUT_S

# Interval of tries: long enough to use little CPU time, and short, since a swap takes only two renames.
POLL_S = 0.005


class FileLock:
    """A lock by ``flock`` on a file; the kernel releases it when the process ends in any way.

    Args:
        open_file: function from ``shared`` to the opened lock file, or to ``None`` if it cannot be written
            there, so that no lock is needed.
        owner: name of what is locked, for messages.
    """

    def __init__(self, open_file: Callable[[bool], int | None], owner: str):
        self._open_file = open_file
        self._owner = owner

    @contextmanager
    def hold(self, *, shared: bool = False, timeout: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Within this context the lock is held; it is not reentrant.

        Args:
            shared: True for readers, which hold the lock together; False for a writer, which holds it alone.
            timeout: seconds to wait for other holders.

        Raises:
            LibraryError: if the others did not finish in time, or the lock file is a link.
            OSError: if the lock file cannot be made and the lock is not shared. A shared lock is skipped in
                that case: if no lock file can be made, no process writes through this mount.
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
        """Release the lock, even if Ctrl-C interrupts it; failures are ignored, since the work is done."""
        try:
            with suppress(OSError):
                # Closing alone would leave the lock with a child process that was forked in between.
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
                        "try again when that process has finished"
                    ) from None
            time.sleep(POLL_S)
