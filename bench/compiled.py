"""Decoding by compiled steps beside the steps as they are: the base model, and Arrow on its experts."""

from collections.abc import Callable

import torch
from transformers import StaticCache

from bench.models import TOP_K, load_bench_base
from bench.options import Options
from bench.report import Table
from bench.routing import Route, Sizes, build_routes, describe_sides, draw_ids
from bench.timing import Side, interleave

WARMUP = 2
"""Rounds before those that count; the first compiles."""


def measure(options: Options) -> list[Table]:
    """Measure decode steps with 8 and 128 experts."""
    counts = [8] if options.quick else [8, 128]
    sizes = Sizes(batch=2, prompt=16, steps=2) if options.quick else Sizes(batch=4, prompt=128, steps=16)
    base = load_bench_base(options.base, options.torch_dtype)
    with torch.no_grad():
        return [
            _measure_count(options, build_routes(options, base, count, False), count, sizes)
            for count in counts
        ]


def _measure_count(options: Options, routes: dict[str, Route], num_experts: int, sizes: Sizes) -> Table:
    sides = {}
    for name in ("base", "lorary, outputs"):
        route = routes[name]
        for how in ("", ", compiled"):
            model = torch.compile(route.model, fullgraph=True) if how else route.model
            sides[name + how] = Side(*_decode(model, route, sizes))
    times = {
        name: found.per(sizes.steps) for name, found in interleave(sides, options.repeats, WARMUP).items()
    }
    torch._dynamo.reset()
    return Table(
        title=f"Arrow top-{TOP_K} of {num_experts} experts, {options.dtype}: decode, batch {sizes.batch}, "
        f"per step, cache of fixed length ({sizes.steps} steps after {sizes.prompt} tokens)",
        rows=describe_sides(times, to=("base", "base, compiled")),
        note="What compiling takes, once, is not in these times.",
    )


def _decode(
    model: Callable[..., object], route: Route, sizes: Sizes
) -> tuple[Callable[..., object], Callable[[], StaticCache]]:
    """Return what runs some steps on a cache, and what fills it with the prompt."""
    ids = draw_ids(sizes)
    cache = StaticCache(config=route.model.config, max_cache_len=sizes.prompt + sizes.steps)

    def prepare() -> StaticCache:
        route.set_up()
        cache.reset()
        route.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache

    def run(cache: StaticCache) -> None:
        for step in range(sizes.steps):
            places = torch.full((sizes.batch, 1), sizes.prompt + step)
            model(
                input_ids=ids[:, step : step + 1], position_ids=places, past_key_values=cache, use_cache=True
            )

    return run, prepare
