"""The first calibration of a library, and that of one more expert, in seconds and in CPU time.

    python -m bench.calibrating --experts 128 --threads 2
    git worktree add OLD COMMIT && python -m bench.calibrating OLD --experts 128    # compared with another
    checkout

Each checkout runs in its own process, one after the other, with a cache folder that has only the
base model. CPU time is measured besides seconds, for machines with other work. "Again" is the first
calibration of a library on a machine that has calibrated experts of this base model before.
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
    parser.add_argument("old", type=Path, nargs="?", help="The other checkout; by default only this one")
    parser.add_argument("--experts", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch.set_num_threads(options.threads)
        print(json.dumps(measure(options.experts, getattr(torch, options.dtype))))
        return
    print(
        f"{options.experts} random experts of rank {RANK} on all linear layers, {options.threads} threads, "
        f"{options.dtype}"
    )
    old = None if options.old is None else run(options.old.resolve(), options)
    for job, (seconds, processor) in run(HERE, options).items():
        line = f"{job:38} {seconds:6.1f} s, processor {processor:6.1f} s"
        if old is not None:
            before = old[job]
            line += (
                f"; before {before[0]:6.1f} s, processor {before[1]:6.1f} s: "
                f"{before[0] / seconds:.1f} and {before[1] / processor:.1f} times as fast"
            )
        print(line, flush=True)


def run(tree: Path, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Measure one checkout in its own process."""
    from lorary.files import open_cache_folder  # not at the top: a worker may import an older lorary

    with tempfile.TemporaryDirectory(prefix="lorary-bench-") as cache:
        for folder in open_cache_folder(make=True).iterdir():  # the converted base model, compiled operators
            if folder.is_dir() and folder.name != "artifacts":
                shutil.copytree(folder, Path(cache, folder.name))
        environment = {**os.environ, "PYTHONPATH": str(tree), "LORARY_CACHE": cache}
        command = [sys.executable, "-P", str(Path(__file__).resolve()), "--worker"]
        command += ["--experts", str(options.experts), "--threads", str(options.threads)]
        command += ["--dtype", options.dtype]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tree, check=True
        )
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(num_experts: int, dtype: torch.dtype) -> dict[str, tuple[float, float]]:
    """Measure this process's lorary; only what all versions have is imported."""
    import lorary
    from lorary.experts import Expert, Factors
    from lorary.models import load_base

    base = load_base(dtype=dtype)
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
        return Expert(f"e{number:03d}", base.name, factors)

    found = {}
    folder = Path(tempfile.mkdtemp(prefix="lorary-bench-"))
    try:
        library = lorary.Library.open(str(folder / "library"), create=True)
        for number in range(num_experts):
            library.add(draw(number))
        shutil.copytree(folder / "library", folder / "again")
        # The files are read once before, as if experts had been used.
        for job, name in (("the first time", "library"), ("again, another library", "again")):
            library = lorary.Library.open(str(folder / name))
            model = lorary.load_model(base, library, router=None)
            found[job] = clock(lambda model=model: model.set_router("calibrated"))
            model.detach()
        late, later = draw(num_experts), draw(num_experts + 1)
        library.add(late)
        model = lorary.load_model(base, library, router=None)
        found["one expert more in the library"] = clock(lambda: model.set_router("calibrated"))
        model.set_router(None)
        found["nothing new"] = clock(lambda: model.set_router("calibrated"))
        found["one expert more on the running model"] = clock(lambda: model.add_expert(later))
    finally:
        shutil.rmtree(folder)
    return found


def clock(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds and CPU seconds."""
    seconds, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - seconds, time.process_time() - processor


if __name__ == "__main__":
    main()
