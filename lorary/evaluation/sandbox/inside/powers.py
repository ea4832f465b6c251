"""Give up what a process may do: its user, its capabilities, and resources beyond limits."""

import ctypes
import os
import resource
import struct
from typing import Any

from .calls import IS_LINUX, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, call, control_process

CAPABILITY_VERSION = 0x20080522
# CAP_DAC_READ_SEARCH
READ_FILES = 1 << 2
# Since this version of Linux, processes are counted for each user namespace.
COUNTED_APART = (5, 14)
# Launcher, judge and worker.
OWN_PROCESSES = 3
MB = 2**20


def drop_powers(user: int | None, *, may_read: bool = False) -> None:
    """Become another user permanently, and lose all capabilities.

    Args:
        user: number of the user and group to become; None to stay the same user.
        may_read: whether to keep root's capability to read others' files, because Python is
            below root's home folder. Landlock must limit it.
    """
    kept = 0
    if user is not None:
        kept = READ_FILES if may_read else 0
        if kept:
            control_process(PR_SET_KEEPCAPS)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    if IS_LINUX:
        control_process(PR_SET_NO_NEW_PRIVS)
        header = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION, 0))
        # Effective, permitted and inherited ones: the lower 32, then the upper 32.
        call("capset", header, ctypes.create_string_buffer(struct.pack("6I", kept, kept, 0, 0, 0, 0), 24))


def limit_resources(limits: dict[str, Any], memory_mb: int, extra_processes: int) -> None:
    """Limit what this process and each of its children may use.

    Args:
        limits: fields of ``Limits``.
        memory_mb: address space of a process.
        extra_processes: number of processes that this user already has.
    """
    seconds = max(1, int(limits["cpu_seconds"]))
    wanted = {
        "RLIMIT_CPU": seconds,
        "RLIMIT_AS": memory_mb * MB,
        "RLIMIT_FSIZE": limits["file_mb"] * MB,
        "RLIMIT_NPROC": limits["num_processes"] + extra_processes,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is not None:
            _set_limit(number, value)


def count_processes(is_apart: bool) -> int:
    """Count the processes that already count towards the limit of processes.

    Args:
        is_apart: whether the sandbox has its own user or user namespace.

    Returns:
        The sandbox's own processes; or those and all threads of this user.
    """
    own = os.getuid()
    version = tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit())
    if is_apart and (own == 0 or version >= COUNTED_APART):
        return OWN_PROCESSES
    processes = [f"/proc/{name}" for name in os.listdir("/proc") if name.isdigit()]
    tasks = [_count_tasks(path) for path in processes if _find_owner(path) == own]
    return sum(tasks) + OWN_PROCESSES


def _find_owner(path: str) -> int:
    try:
        return os.stat(path).st_uid
    except OSError:
        return -1


def _count_tasks(path: str) -> int:
    try:
        return len(os.listdir(f"{path}/task"))
    except OSError:
        return 0


def _set_limit(number: int, value: int) -> None:
    hard = resource.getrlimit(number)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    try:
        resource.setrlimit(number, (value, value))
    except (OSError, ValueError):
        # macOS has no limit of address space.
        if IS_LINUX:
            raise
