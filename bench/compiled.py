"""Decoding with and without compiled steps: the base model, and Arrow on its experts."""

from collections.abc import Callable, Mapping

import torch
from transformers import StaticCache

from bench.floors import Sizes
from bench.models import TOP_K, load_bench_base
from bench.options import Options
from bench.report import Table
from bench.routing import Route, build_routes, describe_sides, draw_ids
from bench.timing import Side, interleave

SIDES = ("base", "lorary, outputs")
WARMUP = 2
"""Rounds before those that count; the first compiles."""


def measure(options: Options) -> list[Table]:
    """Measure decode steps with 8 and 128 experts."""
    counts = [8] if options.quick else [8, 128]
    sizes = Sizes(batch=2, prompt=16, steps=2) if options.quick else Sizes(batch=4, prompt=128, steps=16)
    base = load_bench_base(options.base, options.torch_dtype)
    tables = []
    with torch.no_grad():
        for count in counts:
            routes = build_routes(options, base, count, with_peft=False)
            tables.append(measure_steps(routes, f"Arrow top-{TOP_K} of {count} experts", sizes, options))
    return tables


def measure_steps(routes: Mapping[str, Route], job: str, sizes: Sizes, options: Options) -> Table:
    """Measure decode steps with and without compilation, on GPUs as CUDA graphs.

    Args:
        routes: by name, ``SIDES`` among them; their models are those of ``transformers``.
        job: what they do.
        sizes: how much.
        options: rounds and dtype.
    """
    sides = {}
    for name in SIDES:
        route = routes[name]
        for how in ("", ", compiled"):
            model = torch.compile(route.model, mode="reduce-overhead", fullgraph=True) if how else route.model
            sides[name + how] = Side(*_decode(model, route, sizes))
    times = interleave(sides, options.repeats, WARMUP)
    torch._dynamo.reset()
    return Table(
        title=f"{job}, {options.dtype}: decode, batch {sizes.batch}, per step, cache of fixed length "
        f"({sizes.steps} steps after {sizes.prompt} tokens)",
        rows=describe_sides(
            {name: found.per(sizes.steps) for name, found in times.items()}, to=("base", "base, compiled")
        ),
        note="The time of compiling is not included.",
    )


def _decode(
    model: Callable[..., object], route: Route, sizes: Sizes
) -> tuple[Callable[..., object], Callable[[], StaticCache]]:
    """Return a function that runs some steps on a cache, and one that fills it with the prompt."""
    ids = draw_ids(sizes, route.model.device)
    cache = StaticCache(config=route.model.config, max_cache_len=sizes.prompt + sizes.steps)

    def prepare() -> StaticCache:
        route.set_up()
        cache.reset()
        route.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache

    def run(cache: StaticCache) -> None:
        for step in range(sizes.steps):
            places = torch.full((sizes.batch, 1), sizes.prompt + step, device=ids.device)
            following = ids[:, step : step + 1]
            model(input_ids=following, position_ids=places, past_key_values=cache, use_cache=True)

    return run, prepare
