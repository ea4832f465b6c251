"""System calls that Python's own library lacks, through ``ctypes``."""

import ctypes
import os
import sys

IS_LINUX = sys.platform == "linux"
_LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


def call(name: str, *values: object) -> int:
    """Call a function of the C library that returns a negative number and sets ``errno`` if it fails.

    Raises:
        OSError: if it fails, or if this system has no such function.
    """
    function = getattr(_LIBC, name, None)
    if function is None:
        raise OSError(f"this system has no {name}")
    result = int(function(*map(_as_c, values)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def call_system(number: int, *values: object) -> int:
    """Make a system call by its number."""
    return call("syscall", number, *values)


def control_process(option: int, value: object = 1, other: object = 0) -> None:
    """Set an attribute of this process (``prctl``)."""
    call("prctl", option, value, other, 0, 0)


def hide_memory() -> None:
    """Forbid other processes of the same user to read this process's memory, files and environment."""
    control_process(PR_SET_DUMPABLE, 0)


def _as_c(value: object) -> object:
    """Numbers are passed as 64 bits; a variadic function would otherwise read 32 bits and garbage."""
    return ctypes.c_long(value) if isinstance(value, int) else value
