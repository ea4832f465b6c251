"""The command line: which benchmarks to run, how large, and where the results go."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console

from bench import (
    compiled,
    gpu,
    gpu_training,
    growth,
    loading,
    merging,
    mix,
    names,
    prototypes,
    routing,
    similarity,
    streaming,
    training,
)
from bench.options import DTYPES, Options
from bench.report import Table, describe_bench, print_table, write_report

BENCHES: Mapping[str, Callable[[Options], list[Table]]] = {
    "prototypes": prototypes.measure,
    "routing": routing.measure,
    "names": names.measure,
    "compiled": compiled.measure,
    "gpu": gpu.measure,
    "gpu_training": gpu_training.measure,
    "growth": growth.measure,
    "loading": loading.measure,
    "training": training.measure,
    "merging": merging.measure,
    "streaming": streaming.measure,
    "similarity": similarity.measure,
    "mix": mix.measure,
}
WIDTH = 180


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the requested benchmarks, print their tables, and write them as JSON if a file is named."""
    parser = _build_parser()
    parsed = parser.parse_args(arguments)
    unknown = [name for name in parsed.names if name not in BENCHES]
    if unknown:  # not by ``choices``, with which argparse refuses to get none
        parser.error(f"there is no benchmark {unknown[0]!r}: choose among {', '.join(BENCHES)}")
    names, out = parsed.names or list(BENCHES), parsed.out
    settings = {key: value for key, value in vars(parsed).items() if key not in ("names", "out")}
    if parsed.threads is not None:
        torch.set_num_threads(parsed.threads)
    console = Console()
    # Wider than most terminals: a wrapped line is easier to read than truncated cells.
    console.width = max(console.width, WIDTH)
    tables: dict[str, list[Table]] = {}
    with TemporaryDirectory(prefix="lorary-bench-") as scratch:
        options = Options(scratch=Path(scratch), **settings)
        header = describe_bench({key: value for key, value in asdict(options).items() if key != "scratch"})
        hardware = header["hardware"]
        console.print(f"{hardware['processor']}, {hardware['torch_threads']} threads; {header['versions']}")
        for name in names:
            Console(stderr=True).print(f"measuring {name} …", style="dim")
            tables[name] = BENCHES[name](options)
            for table in tables[name]:
                print_table(table, console)
            if out is not None:
                write_report(out, header, tables)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure lorary and PEFT side by side.",
        epilog="example: python -m bench prototypes routing --out runs/bench.json",
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"among {', '.join(BENCHES)}; none means all"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, as a test that it runs")
    parser.add_argument(
        "--full", action="store_true", help="also PEFT with 128 experts, 22 GB of experts to stream (long)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds, each measuring every side once")
    parser.add_argument("--threads", type=int, help="CPU threads; by default PyTorch's choice")
    parser.add_argument("--dtype", choices=list(DTYPES), default="bfloat16", help="of base model and experts")
    parser.add_argument("--base", default="smollm2-135m", help="base model: embedded, a folder or a hub id")
    parser.add_argument("--data", type=Path, help="folder of task files with a MANIFEST.json, for training")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    return parser
