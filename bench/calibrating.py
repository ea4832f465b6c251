"""The first calibration of a library, and that of one more expert, beside another checkout of lorary.

    git worktree add OLD COMMIT
    python -m bench.calibrating OLD --experts 32 --threads 2

Each checkout runs in a process of its own, one after the other, with an empty cache folder but for the base
model. Processor time is told besides seconds, for machines that do other work meanwhile. ``.`` as OLD is
measured alone.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent.parent
RANK = 8


def main() -> None:
    """Measure both checkouts and print seconds and ratios, or be one of the two processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, help="The other checkout")
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch.set_num_threads(options.threads)
        print(json.dumps(measure(options.experts)))
        return
    trees = dict.fromkeys((options.old.resolve(), HERE))
    found = {tree: run(tree, options.experts, options.threads) for tree in trees}
    print(f"{options.experts} random experts of rank {RANK} on all linear layers, {options.threads} threads")
    for job, (seconds, processor) in found[HERE].items():
        before = found[options.old.resolve()][job]
        print(
            f"{job:24} {before[0]:6.1f} s -> {seconds:6.1f} s ({before[0] / seconds:.1f} times as fast);"
            f" processor {before[1]:6.1f} s -> {processor:6.1f} s ({before[1] / processor:.1f})"
        )


def run(tree: Path, num_experts: int, num_threads: int) -> dict[str, tuple[float, float]]:
    """Measure one checkout in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="lorary-bench-") as cache:
        environment = {**os.environ, "PYTHONPATH": str(tree), "LORARY_CACHE": cache}
        command = [sys.executable, "-P", str(Path(__file__).resolve()), str(tree), "--worker"]
        command += ["--experts", str(num_experts), "--threads", str(num_threads)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree, check=True
        )
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(num_experts: int) -> dict[str, tuple[float, float]]:
    """Measure this process's lorary; only what all versions have is imported."""
    import lorary
    from lorary.experts import Expert, Factors
    from lorary.models import load_base

    base = load_base(dtype=torch.float32)
    layers = {
        path: layer.weight.shape
        for path, layer in base.model.model.named_modules(prefix="model")
        if isinstance(layer, torch.nn.Linear)
    }

    def draw(number: int) -> Expert:
        chance = torch.Generator().manual_seed(number)
        factors = {
            path: Factors(
                torch.randn(RANK, wide, generator=chance) * wide**-0.5,
                torch.randn(high, RANK, generator=chance) * high**-0.5 * 0.3,
            )
            for path, (high, wide) in layers.items()
        }
        return Expert(f"e{number}", base.name, factors)

    folder = Path(tempfile.mkdtemp(prefix="lorary-bench-"))
    try:
        library = lorary.Library.open(str(folder / "library"), create=True)
        for number in range(num_experts):
            library.add(draw(number))
        model = lorary.load_model(base, library, router=None)
        # The files are read once before, as when experts have been used.
        found = {"the first time": clock(lambda: model.set_router("calibrated"))}
        library.add(draw(num_experts))
        model.detach()
        model = lorary.load_model(base, library, router=None)
        found["one expert more"] = clock(lambda: model.set_router("calibrated"))
        model.set_router(None)
        found["nothing new"] = clock(lambda: model.set_router("calibrated"))
    finally:
        shutil.rmtree(folder)
    return found


def clock(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and seconds of processor time."""
    seconds, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - seconds, time.process_time() - processor


if __name__ == "__main__":
    main()
