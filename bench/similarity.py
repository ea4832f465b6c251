"""Similarity of all experts of a library on disk: time, and number of operations.

E experts, R rank, I layer input, O layer output.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bench.models import RANK, load_bench_base, write_library
from bench.options import Options
from bench.report import Cell, Table
from lorary import Library
from lorary.models import find_layers, layer_shape
from lorary.transforms import expert_similarity

MATRIX = 4096
SKETCH = 16


def measure(options: Options) -> list[Table]:
    """Measure 32 and 128 experts, with ``--full`` also 1,000 (5 GB of disk), beside one square product."""
    base = load_bench_base(options.base, options.torch_dtype)
    widths = sum(sum(layer_shape(layer)) for layer in find_layers(base.model, "all-linear").values())
    speed = _measure_speed(256 if options.quick else MATRIX)
    sizes = (3, 5) if options.quick else (32, 128, 1000) if options.full else (32, 128)
    rows: list[dict[str, Cell]] = []
    for num_experts in sizes:
        library = Library.open(write_library(options, base, num_experts))
        exact, times = _time(lambda found=library: expert_similarity(found))
        near, sketched = _time(lambda found=library: expert_similarity(found, sketch=SKETCH))
        # Two products of half of all pairs of rows, and two operations for each number.
        work = (num_experts * RANK) ** 2 * widths
        rows.append(
            {
                "experts": num_experts,
                "s": times,
                "TFLOP": work / 1e12,
                "of a square product's speed": work / times / speed,
                f"s, sketch of {SKETCH}": sketched,
                "largest error": float((near - exact).abs().max()),
            }
        )
    return [
        Table(
            title=f"similarity of experts of rank {RANK} on all linear layers of {options.base}",
            rows=rows,
            note=f"From disk, in float32. A product of {MATRIX} × {MATRIX} runs at {speed / 1e9:,.0f} "
            "GFLOP/s here; all pairs need the work shown, however it is ordered. A sketch needs none of it. "
            "Target: 1,000 in seconds.",
        )
    ]


def _time(job: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """Run a job once; the first reading of files is part of whichever comes first."""
    begun = time.perf_counter()
    found = job()
    return found, time.perf_counter() - begun


def _measure_speed(width: int) -> float:
    """Measure the operations per second of a square product in float32, the best of three."""
    matrix = torch.randn(width, width)
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - begun)
    return 2 * width**3 / best
