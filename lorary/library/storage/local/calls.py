"""The system calls of a library on a local disk, all of them: tests let each fail or kill its process.

Whatever is named is looked up in an opened folder and never followed, should it be a symbolic link.
"""

import fcntl
import os
from collections.abc import Callable

Status = os.stat_result
Open = Callable[[str, int], int]
"""A name and the opened folder it is looked up in -> what was opened."""

_ALWAYS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def look_at_root(path: str) -> Status:
    """Look at a library's own folder, through links."""
    return os.stat(path)


def open_root(path: str) -> int:
    """Open a library's own folder; its path is the user's, so links are followed."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_folder(name: str, parent: int) -> int:
    """Open a folder."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS, dir_fd=parent)


def open_to_read(name: str, parent: int) -> int:
    """Open a file for reading, without waiting for whoever writes to a named pipe."""
    return os.open(name, os.O_RDONLY | _ALWAYS, dir_fd=parent)


def open_to_write(name: str, parent: int) -> int:
    """Open a file for writing, made where it is missing, emptied where it is not."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _ALWAYS, 0o666, dir_fd=parent)


def open_to_lock(name: str, parent: int) -> int:
    """Open a lock file, made where it is missing."""
    return os.open(name, os.O_RDWR | os.O_CREAT | _ALWAYS, 0o666, dir_fd=parent)


def close(descriptor: int) -> None:
    """Close what was opened."""
    os.close(descriptor)


def look(descriptor: int) -> Status:
    """Look at what was opened."""
    return os.fstat(descriptor)


def look_at(name: str, parent: int) -> Status:
    """Look at what has a name."""
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def list_names(descriptor: int) -> list[str]:
    """List what is in an opened folder."""
    return os.listdir(descriptor)


def read(descriptor: int, num_bytes: int, start: int) -> bytes:
    """Read from a place of an opened file, at most so many bytes."""
    return os.pread(descriptor, num_bytes, start)


def write(descriptor: int, content: memoryview) -> int:
    """Write to an opened file; returns how many bytes were written."""
    return os.write(descriptor, content)


def sync(descriptor: int) -> None:
    """Bring a file or a folder's names to the disk."""
    os.fsync(descriptor)


def make_root(path: str) -> None:
    """Make a library's own folder, and those above it."""
    os.makedirs(path, exist_ok=True)


def make_folder(name: str, parent: int) -> None:
    """Make a folder."""
    os.mkdir(name, dir_fd=parent)


def rename(source: str, source_parent: int, target: str, target_parent: int) -> None:
    """Give something another name, perhaps in another folder."""
    os.rename(source, target, src_dir_fd=source_parent, dst_dir_fd=target_parent)


def unlink(name: str, parent: int) -> None:
    """Remove a name that is no folder's."""
    os.unlink(name, dir_fd=parent)


def remove_folder(name: str, parent: int) -> None:
    """Remove an empty folder."""
    os.rmdir(name, dir_fd=parent)


def count_free(descriptor: int) -> int:
    """Count the bytes that can still be written beside an opened folder."""
    found = os.fstatvfs(descriptor)
    return found.f_bavail * found.f_frsize


def lock(descriptor: int, mode: int) -> None:
    """Take or give back the lock of an opened file, as ``fcntl.flock`` does."""
    fcntl.flock(descriptor, mode)
