"""All system calls of a library on a local disk; tests let each of them fail, or kill the process there.

Names are looked up relative to an opened folder, and symbolic links are never followed.
"""

import fcntl
import os
from collections.abc import Callable

Status = os.stat_result
Open = Callable[[str, int], int]
"""Function from a name and the opened folder that it is looked up in to a file descriptor."""

_ALWAYS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def look_at_root(path: str) -> Status:
    """Return the status of a library's own folder; links are followed."""
    return os.stat(path)


def open_root(path: str) -> int:
    """Open a library's own folder; its path is the user's, so links are followed."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_folder(name: str, parent: int) -> int:
    """Open a folder."""
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS, dir_fd=parent)


def open_to_read(name: str, parent: int) -> int:
    """Open a file for reading; a named pipe does not block."""
    return os.open(name, os.O_RDONLY | _ALWAYS, dir_fd=parent)


def open_to_write(name: str, parent: int) -> int:
    """Open a file for writing; it is created if missing, else emptied."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _ALWAYS, 0o666, dir_fd=parent)


def open_to_lock(name: str, parent: int) -> int:
    """Open a lock file; it is created if missing."""
    return os.open(name, os.O_RDWR | os.O_CREAT | _ALWAYS, 0o666, dir_fd=parent)


def close(descriptor: int) -> None:
    """Close a descriptor."""
    os.close(descriptor)


def look(descriptor: int) -> Status:
    """Return the status of an opened file or folder."""
    return os.fstat(descriptor)


def look_at(name: str, parent: int) -> Status:
    """Return the status of a name in an opened folder."""
    return os.stat(name, dir_fd=parent, follow_symlinks=False)


def list_names(descriptor: int) -> list[str]:
    """List the names in an opened folder."""
    return os.listdir(descriptor)


def read(descriptor: int, num_bytes: int, start: int) -> bytes:
    """Read at most ``num_bytes`` from an opened file, from position ``start``."""
    return os.pread(descriptor, num_bytes, start)


def write(descriptor: int, content: memoryview) -> int:
    """Write to an opened file; return the number of bytes written, which may be fewer."""
    return os.write(descriptor, content)


def sync(descriptor: int) -> None:
    """Flush a file's content, or a folder's names, to the disk."""
    os.fsync(descriptor)


def make_root(path: str) -> None:
    """Make a library's own folder, and its parent folders."""
    os.makedirs(path, exist_ok=True)


def make_folder(name: str, parent: int) -> None:
    """Make a folder."""
    os.mkdir(name, dir_fd=parent)


def rename(source: str, source_parent: int, target: str, target_parent: int) -> None:
    """Rename a file or folder, possibly into another folder."""
    os.rename(source, target, src_dir_fd=source_parent, dst_dir_fd=target_parent)


def unlink(name: str, parent: int) -> None:
    """Remove a name that is not a folder's."""
    os.unlink(name, dir_fd=parent)


def remove_folder(name: str, parent: int) -> None:
    """Remove an empty folder."""
    os.rmdir(name, dir_fd=parent)


def count_free(descriptor: int) -> int:
    """Return the number of bytes that can still be written to an opened folder's file system."""
    found = os.fstatvfs(descriptor)
    return found.f_bavail * found.f_frsize


def lock(descriptor: int, mode: int) -> None:
    """Acquire or release the lock of an opened file, see ``fcntl.flock``."""
    fcntl.flock(descriptor, mode)
