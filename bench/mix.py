"""The back ends of ``mix`` over a grid of sizes: which is the fastest, compared with the choice of ``mix``.

T tokens, E experts, R rank, I layer input, O layer output, K experts per token.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import geometric_mean

import torch
from torch import Tensor

from bench.options import Options
from bench.report import Cell, Table
from bench.timing import Side, Times, interleave
from lorary.kernels import cpu
from lorary.kernels.cpu import is_compiled_for
from lorary.models import COMBINES, mix
from lorary.models.mix_backends import BACKENDS, choose_backend

# SmolLM2-135M's widest layers: the MLP's way up and down.
LAYERS = ((576, 1536), (1536, 576))
LARGEST_REFERENCE = 2**26
SHORTEST_SECONDS = 4e-3


@dataclass(frozen=True, kw_only=True)
class Place:
    """One point of the grid."""

    tokens: int
    """T."""
    experts: int
    """E."""
    rank: int
    """R."""
    width_in: int
    """I."""
    width_out: int
    """O."""
    top_k: int
    """K."""
    combine: str
    """``"outputs"`` or ``"factors"``."""


Run = Callable[[Sequence[Tensor], Place, str], object]
"""Runs one point once with a back end."""
Measured = Sequence[tuple[Place, Mapping[str, Times]]]
"""The times of each back end at each point."""


def measure(options: Options) -> list[Table]:
    """Time every back end at every point, forward alone and with backward."""
    places = list(_quick_places() if options.quick else _places())
    tables = []
    for name, run in (("forward", _forward), ("forward and backward", _forward_backward)):
        rows = [(place, _measure_place(place, options, run)) for place in places]
        title = f"mix, {options.dtype}, {name}"
        tables += [_list_places(title, rows), _sum_up(title, rows)]
    return tables


def _places() -> Iterable[Place]:
    sizes = product((4, 64, 512), (1, 8, 32, 128, 512), (8, 32), LAYERS, (1, 4), COMBINES)
    for tokens, experts, rank, (width_in, width_out), top_k, combine in sizes:
        if top_k <= experts and (combine == "outputs" or top_k > 1):
            yield Place(
                tokens=tokens,
                experts=experts,
                rank=rank,
                width_in=width_in,
                width_out=width_out,
                top_k=top_k,
                combine=combine,
            )


def _quick_places() -> Iterable[Place]:
    for combine in COMBINES:
        yield Place(tokens=4, experts=8, rank=8, width_in=64, width_out=96, top_k=2, combine=combine)


def _list_places(title: str, measured: Measured) -> Table:
    rows: list[dict[str, Cell]] = []
    losses = []
    for place, times in measured:
        slowness, chosen = _compare(times), _choose(place)
        losses.append(slowness[chosen])
        rows.append(
            {
                "T": place.tokens,
                "E": place.experts,
                "R": place.rank,
                "I": place.width_in,
                "O": place.width_out,
                "K": place.top_k,
                "combine": place.combine,
                **{f"{backend} µs": _microseconds(times.get(backend)) for backend in BACKENDS},
                "fastest": min(slowness, key=lambda backend: slowness[backend]),
                "chosen": chosen,
                "chosen / fastest": slowness[chosen],
            }
        )
    return Table(
        title=title,
        rows=rows,
        note=f"What `mix` chooses takes {geometric_mean(losses):.2f} × the fastest in the mean, "
        f"{max(losses):.2f} × at worst.",
    )


def _sum_up(title: str, measured: Measured) -> Table:
    """Average over layers and combinations, by what ``choose_backend`` looks at."""
    groups: dict[tuple[int, int, int, str], list[dict[str, float]]] = defaultdict(list)
    for place, times in measured:
        groups[place.tokens, place.top_k, place.experts * place.rank, _choose(place)].append(_compare(times))
    rows: list[dict[str, Cell]] = []
    for (tokens, top_k, ranks, chosen), found in sorted(groups.items()):
        means = {
            backend: geometric_mean([slowness[backend] for slowness in found])
            for backend in BACKENDS
            if all(backend in slowness for slowness in found)
        }
        rows.append(
            {
                "T": tokens,
                "K": top_k,
                "E·R": ranks,
                **{backend: means.get(backend) for backend in BACKENDS},
                "fastest": min(means, key=lambda backend: means[backend]),
                "chosen": chosen,
            }
        )
    return Table(
        title=f"{title}, summed up",
        rows=rows,
        note="Times in units of each place's fastest, geometric means.",
    )


def _choose(place: Place) -> str:
    is_compiled = is_compiled_for(torch.empty(0))
    return choose_backend(place.tokens, place.top_k, place.experts, place.rank, cpu if is_compiled else None)


def _compare(times: Mapping[str, Times]) -> dict[str, float]:
    """Return each back end's time in units of the fastest."""
    fastest = min(found.median for found in times.values())
    return {backend: found.median / fastest for backend, found in times.items()}


def _measure_place(place: Place, options: Options, run: Run) -> dict[str, Times]:
    inputs = _draw_inputs(place, options.torch_dtype)
    # The reference forms each token's own factors: beyond this they would fill the memory.
    size = place.tokens * place.top_k * place.rank * (place.width_in + place.width_out)
    missing = set() if size <= LARGEST_REFERENCE else {"reference"}
    missing |= set() if is_compiled_for(inputs[0]) else {"compiled"}
    backends = [backend for backend in BACKENDS if backend not in missing]
    loops = {backend: _count_loops(run, inputs, place, backend) for backend in backends}
    sides = {
        backend: Side(partial(_repeat, loops[backend], run, inputs, place, backend)) for backend in backends
    }
    times = interleave(sides, options.repeats)
    return {backend: found.per(loops[backend]) for backend, found in times.items()}


def _draw_inputs(place: Place, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype).requires_grad_()

    scores = torch.rand(place.tokens, place.experts, generator=generator)
    weights, indices = scores.topk(place.top_k)
    x, a = draw(place.tokens, place.width_in), draw(place.experts, place.rank, place.width_in)
    b_t = draw(place.experts, place.rank, place.width_out)  # [E, R, O], as ExpertLinear keeps it
    return [x, a, b_t, indices, weights]


def _forward(inputs: Sequence[Tensor], place: Place, backend: str) -> Tensor:
    x, a, b_t, indices, weights = inputs
    with torch.no_grad():
        return mix(x, a, b_t.transpose(1, 2), indices, weights, place.combine, backend)


def _forward_backward(inputs: Sequence[Tensor], place: Place, backend: str) -> object:
    x, a, b_t, indices, weights = inputs
    y = mix(x, a, b_t.transpose(1, 2), indices, weights, place.combine, backend)
    return torch.autograd.grad(y, (x, a, b_t), torch.ones_like(y))


def _count_loops(run: Run, inputs: Sequence[Tensor], place: Place, backend: str) -> int:
    """Return how often to repeat a run so that it takes a few milliseconds."""
    run(inputs, place, backend)
    seconds = Side(lambda: run(inputs, place, backend)).time()
    return max(1, min(100, round(SHORTEST_SECONDS / seconds)))


def _repeat(loops: int, run: Run, inputs: Sequence[Tensor], place: Place, backend: str) -> None:
    for _ in range(loops):
        run(inputs, place, backend)


def _microseconds(times: Times | None) -> float | None:
    return None if times is None else times.median * 1e6
