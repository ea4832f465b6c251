"""Lock files: the contents of a library as hashes, and rebuilding it from other libraries, bit for bit."""

from lorary.library.lock.lock_file import Lock, LockedRouter, read_lock, write_lock
from lorary.library.lock.make_lock import lock_library
from lorary.library.lock.sync import Difference, Synced, sync_library

__all__ = [
    "Difference",
    "Lock",
    "LockedRouter",
    "Synced",
    "lock_library",
    "read_lock",
    "sync_library",
    "write_lock",
]
