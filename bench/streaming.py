"""Merging many experts of a Mistral-7B's shape from a library on disk: time and peak memory."""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench.memory import measure_peak
from bench.options import Options
from bench.report import Cell, Table
from lorary import Expert, Factors, Library, merge
from lorary.transforms import make_recipe, plan_merge

NUM_EXPERTS, NUM_EXPERTS_FULL, NUM_BLOCKS, RANK = 32, 256, 32, 16
SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
METHODS = ("linear", "tsv")


def measure(options: Options) -> list[Table]:
    """Merge 32 experts, or 256 with ``--full``, by methods that never form a weight change."""
    num_experts = NUM_EXPERTS_FULL if options.full else NUM_EXPERTS
    num_experts, num_blocks = (6, 1) if options.quick else (num_experts, NUM_BLOCKS)
    library = write_experts(options.scratch, num_experts, num_blocks)
    size = sum(file.stat().st_size for file in Path(library.url).rglob("*.safetensors"))
    rows = [_measure_method(method, library) for method in METHODS]
    return [
        Table(
            title=f"merging {num_experts} experts of rank {RANK} on all linear layers of Mistral-7B's shape "
            f"({num_blocks} blocks), {size / 1e9:.1f} GB in bfloat16 on disk",
            rows=rows,
            note="Memory: the process's most during the merge, all included. Target: minutes, within 24 GB. "
            "Planned: what `--dry-run` says beforehand.",
        )
    ]


def write_experts(folder: Path, num_experts: int, num_blocks: int) -> Library:
    """Draw experts and put them into a new library."""
    library = Library.open(tempfile.mkdtemp(prefix="wide-", dir=folder), create=True)
    for seed in range(num_experts):
        drawn = torch.Generator().manual_seed(seed)
        factors = {}
        for block in range(num_blocks):
            for name, (width_out, width_in) in SHAPES.items():
                a = torch.rand(RANK, width_in, generator=drawn, dtype=torch.float32) - 0.5
                b = torch.rand(width_out, RANK, generator=drawn, dtype=torch.float32) - 0.5
                path = f"model.layers.{block}.{name}"
                factors[path] = Factors(a.to(torch.bfloat16), b.to(torch.bfloat16))
        library[f"expert-{seed:03d}"] = Expert(f"expert-{seed:03d}", "mistral-7b", factors)
    return library


def _measure_method(method: str, library: Library) -> dict[str, Cell]:
    plan = plan_merge(library, make_recipe(list(library), method))
    begun = time.perf_counter()
    peak = measure_peak(_merge_all, _prepare, method, library.url)
    return {
        "method": method,
        "s": time.perf_counter() - begun,
        "planned s": plan.seconds,
        "GB": peak.highest / 1e9,
        "planned GB": plan.peak_bytes / 1e9,
        "rounds": plan.num_rounds,
    }


def _prepare(method: str, url: str) -> tuple[str, Library]:
    return method, Library.open(url)


def _merge_all(prepared: tuple[str, Any]) -> object:
    method, library = prepared
    return merge(library, method)
