"""The first process of a sandbox: it starts the judge and the worker, and watches them.

launcher            outside; knows only the limits
└── judge           has the tests; the first process of its namespace, with which all others end
    └── worker      has the program
"""

import os
import resource
from typing import Any

from .calls import IS_LINUX, PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, control_process, hide_memory
from .judge import judge
from .landlock import make_ruleset, restrict_files
from .namespaces import leave_processes, leave_system
from .powers import count_processes, drop_powers, limit_resources
from .seccomp import filter_system_calls
from .watch import end_all, watch
from .wire import receive, send
from .worker import serve

SIGKILL = 9
JOB, STATUS, ERRORS = 0, 1, 2


def main() -> int:
    """Run one sandbox: standard input has settings and job, standard output gets the outcome."""
    settings = receive(JOB)
    if IS_LINUX:
        control_process(PR_SET_PDEATHSIG, SIGKILL)
        control_process(PR_SET_CHILD_SUBREAPER)
    is_apart = settings["user"] is not None or settings["namespaces"]
    settings["processes"] = count_processes(is_apart)
    if settings["namespaces"]:
        leave_processes(is_root=settings["user"] is not None)
    if IS_LINUX:
        hide_memory()
    child = os.fork()
    if not child:
        _end(lambda: _become_judge(settings))
    limits = settings["limits"]
    ended, status = watch(child, limits["wall_seconds"], limits["memory_mb"])
    end_all()
    send(STATUS, {"ended": ended, "status": status})
    return 0


def _become_judge(settings: dict[str, Any]) -> None:
    if IS_LINUX:
        control_process(PR_SET_PDEATHSIG, SIGKILL)
    folder, visible, limits = settings["folder"], settings["visible"], settings["limits"]
    if settings["namespaces"]:
        leave_system(folder, visible, limits["folder_mb"])
    else:
        os.chdir(folder)
    to_worker, from_worker = os.pipe(), os.pipe()
    worker = os.fork()
    if not worker:
        # The job has not been read: the worker has no copy of the tests.
        _end(lambda: _become_worker(settings, to_worker[0], from_worker[1]))
    for fd in (to_worker[0], from_worker[1]):
        os.close(fd)
    verdict = settings["verdict"]
    _silence(keep=(JOB, verdict, to_worker[1], from_worker[0]))
    _confine(settings)
    limit_resources(limits, 2 * limits["memory_mb"], settings["processes"])
    if IS_LINUX:
        hide_memory()
        control_process(PR_SET_PDEATHSIG, SIGKILL)  # a change of the user has cleared it
    judge(worker, JOB, verdict, to_worker[1], from_worker[0])


def _become_worker(settings: dict[str, Any], requests: int, answers: int) -> None:
    limits = settings["limits"]
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDWR), JOB)
    _silence(keep=(JOB, requests, answers))
    _confine(settings)
    limit_resources(limits, limits["memory_mb"], settings["processes"])
    if IS_LINUX:
        control_process(PR_SET_PDEATHSIG, SIGKILL)
    os.environ.clear()
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    serve(requests, answers, settings["site_packages"])


def _confine(settings: dict[str, Any]) -> None:
    """Give up the user, files and system calls, as far as this system supports it."""
    if settings["landlock"]:
        # The folders are opened as the user who has access to them.
        ruleset = make_ruleset(settings["visible"], settings["folder"])
        drop_powers(settings["user"], may_read=True)
        restrict_files(ruleset)
    else:
        drop_powers(settings["user"])
    if settings["seccomp"]:
        filter_system_calls()


def _silence(keep: tuple[int, ...]) -> None:
    """Close all files except a few; printed output is discarded."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in {STATUS, ERRORS} - set(keep):
        os.dup2(null, stream)
    last = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65536)
    start = 3
    for fd in sorted(fd for fd in keep if fd >= 3):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, last)


def _end(action: Any) -> None:
    """Run what a forked process does, and end it without returning to its parent's code."""
    code = 1
    try:
        action()
        code = 0
    except BaseException as error:
        # Importing Python's traceback module would take longer than everything else here.
        os.write(ERRORS, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)
