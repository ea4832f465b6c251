"""On a GPU: random models of Phi-2's and Mistral-7B's shapes with many experts, by Triton and by PyTorch."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, MistralConfig, PhiConfig, PreTrainedConfig, PreTrainedModel

from bench.compiled import measure_steps
from bench.floors import Aims, Floor, Sizes, find_floors
from bench.models import TOP_K, attach_random
from bench.options import Options
from bench.report import Cell, Table
from bench.routing import Route, measure_routes
from lorary.models import ExpertStack

SHAPES: Mapping[str, PreTrainedConfig] = {
    "Phi-2": PhiConfig(
        hidden_size=2560,
        intermediate_size=10240,
        num_hidden_layers=32,
        num_attention_heads=32,
        partial_rotary_factor=0.4,
    ),
    "Mistral-7B": MistralConfig(sliding_window=None),
}
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
QUICK_SHAPES: Mapping[str, PreTrainedConfig] = {
    "tiny Phi": PhiConfig(**TINY),
    "tiny Mistral": MistralConfig(**TINY, num_key_value_heads=1),
}
SIZES = Sizes(batch=32, prompt=128, steps=16)
NUM_EXPERTS = 256
NUM_NAMES = 64
RANK = 16


def measure(options: Options) -> list[Table]:
    """Measure prefill of 4,096 tokens and decode of batch 32 by Arrow, and 64 sequences by name.

    Without a CUDA device only the lower bounds are counted.
    """
    if not (torch.cuda.is_available() or options.quick):
        Console(stderr=True).print("no CUDA device: the benchmark gpu times nothing", style="dim")
        return [_count_least()]
    tables = []
    with torch.no_grad():
        for name, config in (QUICK_SHAPES if options.quick else SHAPES).items():
            tables += _measure_shape(name, config, options)
    return tables


def _measure_shape(name: str, config: PreTrainedConfig, options: Options) -> list[Table]:
    model = draw_model(config, options)
    num_experts, num_names = (6, 4) if options.quick else (NUM_EXPERTS, NUM_NAMES)
    sizes = Sizes(batch=2, prompt=8, steps=2) if options.quick else SIZES
    by_name = _share_by_name(sizes, num_names)
    floors, name_floors = _find_both_floors(model, sizes, num_experts, num_names)
    job = f"{name}'s shape, Arrow top-{TOP_K} of {num_experts} experts of rank {RANK}"
    with attach_random(model, num_experts, RANK, TOP_K, seed=0) as (stack, routers):
        routes = _list_routes(model, stack, routers)
        tables = measure_routes(routes, job, sizes, options, Aims(1.15, 1.3, *floors))
        tables.append(measure_steps(routes, job, sizes, options))
        named = {"base": routes["base"], "lorary, by name": _route_by_name(model, stack, num_names)}
        job = f"{name}'s shape, {num_names} sequences with an expert each of {num_experts}, by name"
        tables += measure_routes(named, job, by_name, options, Aims(1.15, 1.15, *name_floors))
    return tables


def draw_model(config: PreTrainedConfig, options: Options) -> PreTrainedModel:
    """Draw a model's weights, on a GPU if there is one."""
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=options.torch_dtype).eval()


def _count_least() -> Table:
    rows: list[dict[str, Cell]] = []
    for name, config in SHAPES.items():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        floors = _find_both_floors(model, SIZES, NUM_EXPERTS, NUM_NAMES)
        for job, (prefill, decode) in zip((f"Arrow top-{TOP_K}", "by name"), floors, strict=True):
            rows.append(
                {"shape": name, "job": job, "prefill, work": prefill.work, "decode, bytes": decode.size}
            )
    return Table(
        title=f"lower bounds of the cost of {NUM_EXPERTS} experts ({NUM_NAMES} by name) of rank {RANK}, × "
        "base",
        rows=rows,
        note=f"Prefill of {SIZES.batch * SIZES.prompt} tokens; decode of batch {SIZES.batch}, by name "
        f"{NUM_NAMES}. Targets: prefill 1.15; decode 1.3, by name 1.15.",
    )


def _share_by_name(sizes: Sizes, num_names: int) -> Sizes:
    return Sizes(batch=num_names, prompt=sizes.batch * sizes.prompt // num_names, steps=sizes.steps)


def _find_both_floors(
    model: PreTrainedModel, sizes: Sizes, num_experts: int, num_names: int
) -> tuple[tuple[Floor, Floor], tuple[Floor, Floor]]:
    by_name = _share_by_name(sizes, num_names)
    return (
        find_floors(model, sizes, rank=RANK, top_k=TOP_K, experts=num_experts),
        find_floors(model, by_name, rank=RANK, top_k=1, experts=num_names, has_router=False),
    )


def _list_routes(
    model: PreTrainedModel, stack: ExpertStack, routers: Mapping[str, torch.nn.Module]
) -> dict[str, Route]:
    def set_up(kernels: str | None, found: Mapping[str, torch.nn.Module] | None, combine: str) -> None:
        use_kernels(kernels)
        stack.set_default(None if found is None else stack.layer_routers(found, combine))

    return {
        "base": Route(model, partial(set_up, None, None, "outputs")),
        "lorary, outputs": Route(model, partial(set_up, "triton", routers, "outputs")),
        "lorary, factors": Route(model, partial(set_up, "triton", routers, "factors")),
        "lorary, outputs, plain PyTorch": Route(model, partial(set_up, "0", routers, "outputs")),
    }


def _route_by_name(model: PreTrainedModel, stack: ExpertStack, num_names: int) -> Route:
    step = len(stack.names) // num_names
    names: Sequence[str] = stack.names[::step][:num_names]

    def answer(**inputs: Any) -> object:
        with stack.assign(names):
            return model(**inputs)

    return Route(answer, partial(use_kernels, "triton"))


def use_kernels(kernels: str | None) -> None:
    """Name the operators that lorary uses; None for its own choice."""
    with suppress(KeyError):
        del os.environ["LORARY_KERNELS"]
    if kernels is not None:
        os.environ["LORARY_KERNELS"] = kernels
