"""Start one sandbox, and read its verdict."""

import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, get_args

from lorary.evaluation.sandbox.inside.wire import Broken, receive, send
from lorary.evaluation.sandbox.limits import Limits
from lorary.evaluation.sandbox.program import Outcome, Program, Verdict
from lorary.evaluation.sandbox.visible import list_site_packages, list_visible

INSIDE = Path(__file__).parent
START = """
import sys
sys.path.insert(0, sys.argv[1])
from inside.launch import main
del sys.path[0]
sys.dont_write_bytecode = True
main()
"""
# The environment of the sandbox: the same order of sets in every run.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# Seconds for the start and the end of a sandbox, beside the program's own time.
PATIENCE = 30
NOBODY = 65534
# In bytes.
LONGEST_LOG = 10_000
SIGXCPU, SIGKILL = 24, 9


class SandboxFailure(Exception):
    """A sandbox did not start."""


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The protections of Linux that a sandbox has, in addition to limits."""

    namespaces: bool
    """No network, no other processes, no files except Python's own."""
    seccomp: bool
    """No sockets, no signals to other processes, no mounts."""
    landlock: bool
    """No files except Python's own."""


def run_program(program: Program, limits: Limits, layers: Layers) -> Verdict:
    """Run one program and its tests in a new sandbox.

    Raises:
        SandboxFailure: if the sandbox does not start.
    """
    secret = secrets.token_hex(16)
    folder = tempfile.mkdtemp(prefix="lorary-sandbox-")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        job, verdict, status, log = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(4))
        send(job.fileno(), {**_describe_settings(folder, limits, layers), "verdict": verdict.fileno()})
        send(job.fileno(), {**asdict(program), "secret": secret})
        job.seek(0)
        _run(job, verdict, status, log, limits.wall_seconds)
        return _read_verdict(verdict, status, log, secret)


def _describe_settings(folder: str, limits: Limits, layers: Layers) -> dict[str, Any]:
    user = choose_user() if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)
    return {
        "folder": folder,
        "user": user,
        "limits": asdict(limits),
        "visible": list_visible(),
        "site_packages": list_site_packages(),
        **asdict(layers),
    }


def choose_user() -> int:
    """Choose a user for a sandbox that root starts: one that owns nothing, and that no other sandbox uses."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/uid_map").read_text().splitlines():
            first, _, count = map(int, line.split())
            if count > 2 * NOBODY:
                return random.SystemRandom().randrange(first + count // 2, first + count - 1)
    return NOBODY


def _run(job: IO[bytes], verdict: IO[bytes], status: IO[bytes], log: IO[bytes], seconds: float) -> None:
    command = [sys.executable, "-S", "-s", "-P", "-c", START, str(INSIDE)]
    with subprocess.Popen(
        command,
        stdin=job,
        stdout=status,
        stderr=log,
        pass_fds=[verdict.fileno()],
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        try:
            process.wait(seconds + PATIENCE)
        except BaseException as error:
            process.kill()  # the processes below die with it
            if not isinstance(error, subprocess.TimeoutExpired):
                raise


def _read_verdict(verdict: IO[bytes], status: IO[bytes], log: IO[bytes], secret: str) -> Verdict:
    ended, trace = _read(status), _read_last_line(log)
    if ended is None or trace:
        raise SandboxFailure(trace or "it ended without a message")
    if ended["ended"] != "exit":
        return Verdict(outcome=ended["ended"], message=f"the limit of {ended['ended']} is reached")
    found = _read(verdict)
    if (
        isinstance(found, dict)
        and found.get("secret") == secret
        and found.get("outcome") in get_args(Outcome)
    ):
        return Verdict(outcome=found["outcome"], message=str(found.get("message")))
    return Verdict(outcome="died", message="the process of the tests has ended")


def _read(file: IO[bytes]) -> Any:
    file.seek(0)
    try:
        return receive(file.fileno())
    except Broken:
        return None


def _read_last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read(LONGEST_LOG).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
