"""One run at a time in a run folder."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorary.errors import TrainingError
from lorary.files import quote, require_regular
from lorary.training.folder.run_files import refuse_damage

LOCK_FILE = "run.lock"
# What file systems say that were mounted without locks, as on some clusters: there nobody keeps runs apart.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
# What opening a lock says that is no file.
_KINDS = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a folder", errno.ENXIO: "a socket or a device"}


@contextmanager
def hold_run_folder(path: str | Path) -> Iterator[None]:
    """Within this context no other run can use the folder; a process that dies leaves it free.

    Args:
        path: the folder; made if it is missing.

    Raises:
        TrainingError: if another run is using it, it is no folder, or its lock is no file of its own.
        OSError: if the lock can neither be had nor is held by another run.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise TrainingError(
            f"{quote(str(folder))} must be a folder, found a file there or above it: take another folder"
        ) from error
    descriptor = _open_lock(folder / LOCK_FILE)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        # Closing it frees it, as the kernel does when the process ends.
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    """Open the lock: no link is followed, no pipe waited for, nothing elsewhere made or emptied."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with refuse_damage(path, "delete it; it holds nothing but the number of a process"):
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno in _KINDS:
                raise ValueError(f"it must be a file of its own, found {_KINDS[error.errno]}") from error
            raise
        try:
            status = os.fstat(descriptor)
            require_regular(status, str(path))
            if status.st_nlink > 1:
                raise ValueError("it must be a file of its own, found one that has other names elsewhere")
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0)
        who = f" (process {int(holder)})" if holder.isdigit() else ""
        raise TrainingError(
            f"another run{who} is training in {quote(str(folder))}: wait until it is done, end it "
            "to go on from where it is, or take another folder"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
