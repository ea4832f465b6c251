"""How the cost of a routed forward pass grows with experts, experts per token, rank and tokens.

T tokens, E experts, R rank, I layer input, O layer output, K experts per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from bench.floors import expect_used, find_floor
from bench.models import attach_random, load_bench_base
from bench.options import Options
from bench.report import Cell, Table
from bench.timing import Side, interleave, ratio, spread_times
from lorary import BaseModel


@dataclass(frozen=True, kw_only=True)
class Place:
    """One combination of sizes."""

    experts: int = 32
    """E."""
    top_k: int = 4
    """K."""
    rank: int = 8
    """R."""
    tokens: int = 512
    """T, of one sequence read at once."""
    first_rank: int = 0
    """Of the first expert, if it is above that of all others."""


AXES: Mapping[str, tuple[int, ...]] = {
    "experts": (8, 32, 128, 256),
    "top_k": (1, 2, 4, 8, 16),
    "rank": (2, 4, 8, 16, 32),
    "tokens": (1, 4, 16, 64, 512, 1024),
    "first_rank": (8, 32, 128),
}
QUICK_AXES: Mapping[str, tuple[int, ...]] = {"experts": (2, 4), "tokens": (1, 2)}


def measure(options: Options) -> list[Table]:
    """Vary one size at a time, Arrow routing at every layer; a table for each."""
    base = load_bench_base(options.base, options.torch_dtype)
    axes, usual = (QUICK_AXES, Place(experts=3, top_k=2, tokens=4)) if options.quick else (AXES, Place())
    tables = []
    for axis, values in axes.items():
        rows = [
            {axis: value, **_measure_place(base, replace(usual, **{axis: value}), options)}
            for value in values
        ]
        others = ", ".join(f"{name} {getattr(usual, name)}" for name in AXES if name != axis)
        tables.append(
            Table(
                title=f"Arrow by {axis} ({others}), {options.dtype}",
                rows=rows,
                note="Least work, least bytes: what scores and experts need at the least, with what the base "
                "model needs, in units of the latter. Many tokens are bound by work, few by bytes.",
            )
        )
    return tables


def _measure_place(base: BaseModel, place: Place, options: Options) -> dict[str, Cell]:
    floor = find_floor(  # before the layers are wrapped
        base.model,
        tokens=place.tokens,
        rank=place.rank,
        top_k=place.top_k,
        num_used=expect_used(place.experts, place.top_k, place.tokens),
        num_scored=place.experts,
        num_logits=1,
    )
    ids = torch.randint(1000, 20000, (1, place.tokens), generator=torch.Generator().manual_seed(0))
    run = partial(base.model, input_ids=ids, use_cache=False, logits_to_keep=1)
    attached = attach_random(
        base.model, place.experts, place.rank, place.top_k, seed=0, first_rank=place.first_rank
    )
    with torch.no_grad(), attached as (stack, routers):
        sides = {
            "base": Side(lambda _: run(), partial(stack.set_default, None)),
            "this": Side(lambda _: run(), partial(stack.set_default, stack.layer_routers(routers))),
        }
        times = interleave(sides, options.repeats)
    return {
        "base ms": spread_times(times["base"], 1e-3),
        "ms": spread_times(times["this"], 1e-3),
        "× base": ratio(times["this"], times["base"]),
        "least work": floor.work,
        "least bytes": floor.size,
    }
