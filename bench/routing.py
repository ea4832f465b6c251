"""Arrow's forward pass over many experts, as a multiple of the bare base model's: prefill and decode."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from bench.floors import Aims, Sizes, find_floors
from bench.models import RANK, TOP_K, list_experts, load_bench_base, write_library
from bench.options import Options
from bench.peft_arrow import load_peft_arrow
from bench.report import Cell, Table
from bench.timing import Side, Times, interleave, ratio, spread_times
from lorary import BaseModel, Library, load_model
from lorary.models import COMBINES
from lorary.routing import ArrowConfig

PREFILL_TARGETS = {128: 1.6}
DIFFERENCE_NOTE = (
    " Difference: of this side's logits from PEFT's, in units of what its experts change them by. Sides that "
    "combine outputs should be near 0; what is left under routing are PEFT's inexact prototypes."
)


@dataclass(frozen=True)
class Route:
    """One way to compute answers."""

    model: Callable[..., Any]
    """A model, or a function that calls one."""
    set_up: Callable[[], object] = lambda: None
    """Brings it into the measured state."""


def measure(options: Options) -> list[Table]:
    """Measure prefill and decode with 8, 32 and 128 experts; PEFT with 128 only if ``full``."""
    counts = [8] if options.quick else [8, 32, 128]
    sizes = Sizes(batch=2, prompt=16, steps=2) if options.quick else Sizes(batch=4, prompt=128, steps=16)
    base = load_bench_base(options.base, options.torch_dtype)
    tables = []
    with torch.no_grad():
        for count in counts:
            routes = build_routes(options, base, count, with_peft=options.full or count < 128)
            aims = Aims(
                *(PREFILL_TARGETS.get(count, 1.5), 1.5),
                *find_floors(base.model, sizes, rank=RANK, top_k=TOP_K, experts=count),
            )
            tables += measure_routes(routes, f"Arrow top-{TOP_K} of {count} experts", sizes, options, aims)
    return tables


def build_routes(options: Options, base: BaseModel, num_experts: int, with_peft: bool) -> dict[str, Route]:
    """Load the models: the base model, Arrow on random experts by lorary and, if requested, by PEFT."""
    folder = write_library(options, base, num_experts)
    routed = load_model(
        load_bench_base(options.base, options.torch_dtype), Library.open(folder), router="arrow"
    )
    routes = {"base": Route(base.model)}
    for how in COMBINES:
        set_up = partial(routed.set_router, "arrow", ArrowConfig(top_k=TOP_K), how)
        routes[f"lorary, {how}"] = Route(routed.model, set_up)
    if with_peft:
        other = load_bench_base(options.base, options.torch_dtype)
        routes["PEFT (outputs)"] = Route(load_peft_arrow(other.model, list_experts(folder)))
    return routes


def draw_ids(sizes: Sizes, device: torch.device | str = "cpu") -> Tensor:
    """Draw prompts."""
    shape, generator = (sizes.batch, sizes.prompt), torch.Generator().manual_seed(0)
    return torch.randint(1000, 20000, shape, generator=generator).to(device)


def measure_routes(
    routes: Mapping[str, Route],
    job: str,
    sizes: Sizes,
    options: Options,
    aims: Aims,
) -> list[Table]:
    """Measure prefill and decode by several routes, one of which is called base.

    Args:
        routes: by name; PEFT's begin with "PEFT".
        job: what they do.
        sizes: how much.
        options: rounds and dtype.
        aims: the target and the lower bound of the cost.
    """
    ids = draw_ids(sizes, routes["base"].model.device)
    prefill = interleave(
        {name: Side(partial(_prefill, route, ids), route.set_up) for name, route in routes.items()},
        options.repeats,
    )
    decode = interleave(
        {name: Side(*_decode(route, ids, sizes.steps)) for name, route in routes.items()}, options.repeats
    )
    # bfloat16 rounds close decisions either way, and one at an early layer moves all later ones.
    differences = _differences(routes, ids) if options.dtype == "float32" else None
    return [
        Table(
            title=f"{job}, {options.dtype}: prefill of {sizes.batch}×{sizes.prompt} tokens",
            rows=describe_sides(prefill, differences),
            note=aims.describe_prefill() + (DIFFERENCE_NOTE if differences else ""),
        ),
        Table(
            title=f"{job}, {options.dtype}: decode, batch {sizes.batch}, per step "
            f"({sizes.steps} steps after the prompt)",
            rows=describe_sides({name: times.per(sizes.steps) for name, times in decode.items()}),
            note=aims.describe_decode(),
        ),
    ]


def _prefill(route: Route, ids: Tensor, _: object) -> object:
    return route.model(input_ids=ids, use_cache=False)


def _decode(route: Route, ids: Tensor, steps: int) -> tuple[Callable[..., object], Callable[[], object]]:
    """Return a function that runs some steps on a cache, and one that restores the prompt's cache."""
    cache = DynamicCache()
    route.set_up()
    route.model(input_ids=ids, past_key_values=cache, use_cache=True)

    def prepare() -> DynamicCache:
        route.set_up()
        surplus = cache.get_seq_length() - ids.shape[1]
        if surplus:
            cache.crop(-surplus)
        return cache

    def run(cache: DynamicCache) -> None:
        for step in range(steps):
            route.model(input_ids=ids[:, step : step + 1], past_key_values=cache, use_cache=True)

    return run, prepare


def _differences(routes: Mapping[str, Route], ids: Tensor) -> dict[str, float]:
    """Compare logits: the distance to PEFT's, in units of how far PEFT's are from the base model's."""
    logits = {}
    for name, route in routes.items():
        route.set_up()
        logits[name] = route.model(input_ids=ids, use_cache=False).logits.float()
    peers = [name for name in routes if name.startswith("PEFT")]
    if not peers:
        return {}
    change = (logits[peers[0]] - logits["base"]).norm()
    return {name: float((found - logits[peers[0]]).norm() / change) for name, found in logits.items()}


def describe_sides(
    times: Mapping[str, Times],
    differences: Mapping[str, float] | None = None,
    to: Sequence[str] = ("base",),
) -> list[dict[str, Cell]]:
    """Make a table's rows: times, and their ratios to those of the sides ``to``."""
    rows = []
    for name, side in times.items():
        row: dict[str, Cell] = {"side": name, "ms": spread_times(side, 1e-3)}
        row |= {f"× {other}": ratio(side, times[other]) for other in to}
        if differences:
            row["difference"] = differences[name]
        rows.append(row)
    return rows
