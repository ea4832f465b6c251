"""Run the programs that a model wrote, each with its tests in its own sandbox."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from lorary.errors import LoraryError
from lorary.evaluation.sandbox.limits import Limits
from lorary.evaluation.sandbox.process import Layers, SandboxFailure, run_program
from lorary.evaluation.sandbox.program import Program, Verdict
from lorary.files import quote

# The strongest first; the first that works on this machine is used.
CHOICES = (
    Layers(namespaces=True, seccomp=True, landlock=False),
    Layers(namespaces=True, seccomp=False, landlock=False),
    Layers(namespaces=False, seccomp=True, landlock=True),
    Layers(namespaces=False, seccomp=False, landlock=True),
    Layers(namespaces=False, seccomp=True, landlock=False),
    Layers(namespaces=False, seccomp=False, landlock=False),
)
_RIGHT = "import collections, heapq, math, re\ndef double(x):\n    return 2 * x\n"
_TRIALS = {"assert double(2) == 4": "passed", "assert double(2) == 5": "failed"}


def check_programs(
    programs: Sequence[Program],
    limits: Limits | None = None,
    *,
    allow_code: bool = False,
    num_at_once: int | None = None,
) -> list[Verdict]:
    """Run programs, and return whether each passes its tests.

    Args:
        programs: the programs; equal ones are run once.
        limits: the limits of each; None for the defaults.
        allow_code: must be True: code that a model wrote is run on this machine.
        num_at_once: number of programs that run at a time; None for one per processor core.

    Returns:
        A verdict for each program, in their order.

    Raises:
        ValueError: unless ``allow_code``.
        LoraryError: if no sandbox works on this machine.
    """
    if not allow_code:
        raise ValueError(
            "these measures run code that the model wrote, in a sandbox: allow it with --allow-code "
            "(allow_code=True in Python)"
        )
    different = list(dict.fromkeys(programs))
    if not different:
        return []
    run = partial(run_program, limits=limits or Limits(), layers=find_layers())
    with ThreadPoolExecutor(num_at_once or len(os.sched_getaffinity(0))) as pool:
        try:
            verdicts = dict(zip(different, pool.map(run, different), strict=True))
        except SandboxFailure as error:
            raise LoraryError(f"a sandbox did not start: {quote(str(error))}") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [verdicts[program] for program in programs]


@cache
def find_layers() -> Layers:
    """Find the strongest protection that works on this machine, tested with a right and a wrong program.

    Raises:
        LoraryError: if none works.
    """
    faults = []
    for layers in CHOICES:
        fault = _find_fault(layers)
        if fault is None:
            if missing := describe_missing(layers):
                warnings.warn(f"on this machine, programs in the sandbox {missing}", stacklevel=2)
            return layers
        faults.append(fault)
    raise LoraryError(f"no sandbox works on this machine: {'; '.join(dict.fromkeys(faults))}")


def describe_missing(layers: Layers) -> str:
    """Describe what these protections fail to prevent; empty if they are complete."""
    faults = []
    if not (layers.namespaces or layers.landlock):
        faults.append(
            "can read and change files of the user who runs them (Landlock and namespaces are missing)"
        )
    if not (layers.namespaces or layers.seccomp):
        faults.append(
            "can use the network and end processes of this user (seccomp and namespaces are missing)"
        )
    return ", and ".join(faults)


def _find_fault(layers: Layers) -> str | None:
    for tests, outcome in _TRIALS.items():
        try:
            verdict = run_program(Program(code=_RIGHT, tests=tests), Limits(), layers)
        except SandboxFailure as error:
            return quote(str(error))
        if verdict.outcome != outcome:
            return f"a trial {verdict.outcome}: {quote(verdict.message)}"
    return None
