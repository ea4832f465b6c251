"""The process that runs the tests; only this process can report that they passed.

It asks the worker for the program's results and compares them itself. Changes by the program to its own
process, to ``assert``, to equality or to files affect no comparison.
"""

import builtins
import importlib
import os
import signal
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

from .remote import ProgramEnded, Worker
from .wire import Broken, receive, send

# Modules that tests may use through the program's imports; the judge imports its own copy.
MODULES = frozenset(
    {
        *("bisect", "cmath", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq"),
        *("itertools", "math", "random", "re", "statistics", "string", "sys", "typing"),
    }
)
LONGEST_TEXT = 300


def judge(process: int, tests: int, verdict: int, requests: int, answers: int) -> None:
    """Read one program with its tests, judge it, and write the verdict.

    Args:
        process: the worker, a child of this process.
        tests: file descriptor with the program, the tests and the secret of this verdict.
        verdict: file descriptor for the verdict.
        requests: file descriptor of the worker's requests.
        answers: file descriptor of the worker's answers.
    """
    job = receive(tests)
    outcome, message = _decide(Worker(requests, answers), job)
    if outcome == "died" and _find_signal(process) == signal.SIGXCPU:
        outcome, message = "time", "the limit of processor time is reached"
    send(verdict, {"secret": job["secret"], "outcome": outcome, "message": message[:LONGEST_TEXT]})


def _decide(worker: Worker, job: dict[str, Any]) -> tuple[str, str]:
    try:
        _run_tests(worker, job)
    except AssertionError as error:
        return "failed", str(error) or "a test failed"
    except Broken as error:
        return "died", str(error)
    except MemoryError:
        return "memory", "the program needs more memory than it may use"
    except ProgramEnded as error:
        return "error", f"the program ended itself: {error}"
    except BaseException as error:
        return "error", f"{type(error).__name__}: {error}"
    return "passed", ""


def _run_tests(worker: Worker, job: dict[str, Any]) -> None:
    namespace: dict[str, Any] = {"__name__": "tests"}
    exec(compile(job["setup"], "<setup>", "exec"), namespace)
    tests = compile(job["tests"], "<tests>", "exec")
    defined = worker.ask("run", job["code"])
    if not isinstance(defined, dict):
        raise Broken("an answer that cannot be read")
    known = (vars(builtins).keys() | namespace.keys()) - set(job["own"])
    for name in set(_list_names(tests)) & defined.keys() - known:
        namespace[name] = _fetch(worker, name, defined[name])
    exec(tests, namespace)


def _find_signal(process: int) -> int:
    """Return the signal that ended a process, which may still be ending; 0 if there is none."""
    for _ in range(50):
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.WTERMSIG(status)
        time.sleep(0.01)
    return 0


def _fetch(worker: Worker, name: str, module: Any) -> Any:
    if module in MODULES:
        return sys.modules.get(module) or importlib.import_module(module)
    return worker.ask("global", name)


def _list_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _list_names(constant)
