"""Watch the time and memory of all processes of a sandbox together, and end them all."""

import os
import signal
import time
from contextlib import suppress

# Seconds between two checks.
PAUSE = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")


def watch(process: int, seconds: float, memory_mb: int) -> tuple[str, int]:
    """Wait for a process until it ends or a limit is reached.

    Args:
        process: a child of this process.
        seconds: limit of time.
        memory_mb: limit of memory, of the process and all below it together.

    Returns:
        ``exit`` with the status of the process, or ``time`` or ``memory`` with 0.
    """
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return "exit", status
        if time.monotonic() > end:
            return "time", 0
        if sum(map(_count_bytes, list_below(os.getpid()))) > memory_mb * 2**20:
            return "memory", 0
        time.sleep(PAUSE)


def list_below(process: int) -> list[int]:
    """List the children of a process, their children, and so on."""
    below: list[int] = []
    waiting = [process]
    while waiting:
        children = _list_children(waiting.pop())
        below += children
        waiting += children
    return below


def end_all() -> None:
    """End all processes below this one, including those whose parents have ended."""
    while processes := list_below(os.getpid()):
        # Stopped processes cannot start others in the meantime.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in processes:
                with suppress(OSError):
                    os.kill(process, number)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _list_children(process: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            with suppress(OSError):
                found += map(int, _read(f"/proc/{process}/task/{task}/children").split())
    return found


def _count_bytes(process: int) -> int:
    try:
        return int(_read(f"/proc/{process}/statm").split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
