"""The lock of a run folder, which admits one run at a time."""

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
# Errors of file systems mounted without locks, as on some clusters; there the lock is skipped.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
# Errors of opening a path that is not a regular file.
_KINDS = {errno.ELOOP: "a symbolic link", errno.EISDIR: "a folder", errno.ENXIO: "a socket or a device"}


@contextmanager
def hold_run_folder(path: str | Path) -> Iterator[None]:
    """Within this context no other run can use the folder; the lock is released if the process is killed.

    Args:
        path: the folder; it is made if missing.

    Raises:
        TrainingError: if another run is using it, it is not a folder, or its lock file is a link, has
            several names or is not a regular file.
        OSError: if locking fails for another reason.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise TrainingError(
            f"{quote(str(folder))} must be a folder, found a file at this path or above: use another folder"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"the run's folder {quote(str(folder))} cannot be made ({error.strerror}): use one that can be "
            "written (--run)"
        ) from error
    descriptor = _open_lock(folder / LOCK_FILE)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        # Closing the file releases the lock, as the kernel does when the process ends.
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    """Open the lock file, without following a link, waiting for a pipe, or emptying an existing file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with refuse_damage(path, "delete it; it has only the number of a process"):
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno in _KINDS:
                raise ValueError(f"it must be a regular file, found {_KINDS[error.errno]}") from error
            raise
        try:
            status = os.fstat(descriptor)
            require_regular(status, str(path))
            if status.st_nlink > 1:
                raise ValueError("it must have one name, found several hard links")
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
            f"another run{who} is training in {quote(str(folder))}: wait until it has finished, stop it and "
            "resume here, or use another folder"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
