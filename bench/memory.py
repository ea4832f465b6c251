"""The peak memory of one job, measured in a separate process so that nothing else counts."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.quiet import quieten


@dataclass(frozen=True, kw_only=True)
class Peak:
    """A job's resident memory, in bytes, and time; memory-mapped files count where they were read."""

    before: int
    """After the preparation."""
    highest: int
    """The maximum during the job."""
    seconds: float
    """The time of the job, in a process that has done nothing else but prepare it."""

    @property
    def extra(self) -> int:
        """The memory that the job needed beyond the preparation."""
        return self.highest - self.before


def measure_peak(job: Callable[[Any], object], prepare: Callable[..., Any], *arguments: Any) -> Peak:
    """Run ``job(prepare(*arguments))`` in a fresh process, with this one's number of threads.

    Args:
        job: what is measured; a function that another process can import.
        prepare: done before, such as loading the base model; likewise.
        arguments: for ``prepare``.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_measure_here, torch.get_num_threads(), job, prepare, arguments).result()


def _measure_here(
    num_threads: int, job: Callable[[Any], object], prepare: Callable[..., Any], arguments: tuple[Any, ...]
) -> Peak:
    torch.set_num_threads(num_threads)
    quieten()
    prepared = prepare(*arguments)
    # Linux's way to forget the highest mark; where it is forbidden, loading the base model counts too.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    before = _read_status("VmRSS")
    start = time.perf_counter()
    result = job(prepared)
    seconds = time.perf_counter() - start
    highest = _read_status("VmHWM")
    del result
    return Peak(before=before, highest=highest, seconds=seconds)


def _read_status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}: peak memory can be measured on Linux only")
