"""One run at a time in a run folder."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorary.errors import TrainingError

LOCK_FILE = "run.lock"
# What file systems say that were mounted without locks, as on some clusters: there nobody keeps runs apart.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


@contextmanager
def hold_run_folder(path: str | Path) -> Iterator[None]:
    """Within this context no other run can use the folder; a process that dies leaves it free.

    Args:
        path: the folder; made if it is missing.

    Raises:
        TrainingError: if another run is using it.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        # Closing it frees it, as the kernel does when the process ends.
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace")
        raise TrainingError(
            f"another run (process {holder}) is training in {str(folder)!r}: wait until it is done, end it "
            "to go on from where it is, or take another folder"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
