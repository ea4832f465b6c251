"""From a library on disk to a routed model: time and peak memory, for increasing numbers of experts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.memory import measure_peak
from bench.models import list_experts, load_bench_base, write_library
from bench.options import Options
from bench.peft_arrow import load_peft_arrow
from bench.report import Cell, Table
from bench.timing import Side, interleave, ratio, spread_times
from lorary import BaseModel, Library, load_model

Job = tuple[BaseModel, Path]
"""A base model without experts, and the library to load into it."""


def measure(options: Options) -> list[Table]:
    """Measure loading 8, 32 and 128 experts; PEFT with 128 only if ``full``."""
    counts = [2, 4] if options.quick else [8, 32, 128]
    rows = [row for count in counts for row in _measure_count(options, count)]
    return [
        Table(
            title=f"from a library on disk to a routed model, {options.dtype}",
            rows=rows,
            note="Files are in the page cache. 'read and stack' loads every tensor and stacks the experts, "
            "no more. 'again' finds the prototypes that the first loading stored, 'calibrated' is the same "
            "with the default router, whose calibrations were stored. 'Alone' is once in a process of its "
            "own, and so is memory: what the job needed at its peak beyond the base model, mapped files "
            "included. Targets: the time per expert stays as it is, at most 1.5 × reading; 128 experts in "
            "less than the base model takes twice.",
        )
    ]


def _measure_count(options: Options, count: int) -> list[dict[str, Cell]]:
    jobs: dict[str, Callable[[Job], object]] = {
        "read and stack": read_all,
        "base model, twice": partial(load_base_twice, options),
        "lorary, first": load_routed,
        "lorary, again": load_routed,
        "… calibrated": load_calibrated,
    }
    if options.full or count < 128:
        jobs["PEFT"] = load_peft
    used = write_library(options, load_bench_base(options.base, options.torch_dtype), count)
    for load in (load_routed, load_calibrated):
        load(prepare_job(options, used))
    folders = {name: None if name == "lorary, first" else used for name in jobs}
    sides = {
        name: Side(job, partial(prepare_job, options, folders[name], count)) for name, job in jobs.items()
    }
    # PEFT is slow with many experts, so fewer rounds are run.
    times = interleave(sides, min(options.repeats, 3))
    alone = {
        name: measure_peak(job, prepare_job, options, folders[name], count) for name, job in jobs.items()
    }
    return [
        {
            "experts": count,
            "side": name,
            "seconds": spread_times(times[name]),
            "ms per expert": spread_times(times[name].per(count), 1e-3),
            "× reading": ratio(times[name], times["read and stack"]),
            "× base twice": ratio(times[name], times["base model, twice"]),
            "PEFT's time / this": ratio(times["PEFT"], times[name]) if "PEFT" in times else None,
            "s, alone": alone[name].seconds,
            "peak MB": alone[name].extra / 1e6,
        }
        for name in jobs
    ]


def prepare_job(options: Options, folder: Path | None, count: int = 0) -> Job:
    """Load a fresh base model; without a folder, make a library of so many experts, never loaded."""
    base = load_bench_base(options.base, options.torch_dtype)
    return base, folder or write_library(options, base, count)


def load_routed(job: Job) -> object:
    """Load with lorary, prototypes included."""
    base, folder = job
    return load_model(base, Library.open(folder), router="arrow")


def load_calibrated(job: Job) -> object:
    """Load with lorary and its default router, on two generic texts: only kept calibrations are timed."""
    base, folder = job
    return load_model(base, Library.open(folder), generic=("What is it?", "Once upon a time"))


def load_base_twice(options: Options, _: Job) -> object:
    """Load the base model itself, twice."""
    return [load_bench_base(options.base, options.torch_dtype) for _ in range(2)]


def load_peft(job: Job) -> object:
    """Load with PEFT, prototypes included."""
    base, folder = job
    return load_peft_arrow(base.model, list_experts(folder))


def read_all(job: Job) -> dict[str, Tensor]:
    """Read every weights file and stack the experts: the minimum of loading."""
    files = [load_file(Path(folder) / "adapter_model.safetensors") for folder in list_experts(job[1])]
    return {name: torch.stack([file[name] for file in files]) for name in files[0]}
