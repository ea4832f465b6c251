"""Merging 8 experts: time, error and memory, compared with PEFT's ``add_weighted_adapter``.

R rank, I layer input, O layer output.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from bench.memory import measure_peak
from bench.models import DECAYING, RANK, draw_expert, load_bench_base
from bench.options import Options
from bench.peft_merging import PeftMerger
from bench.report import Cell, Table
from bench.timing import Side, Times, interleave, ratio, spread_times
from lorary import Expert, Factors, merge

NUM_EXPERTS = 8
WIDE = 4096
DENSITY = 0.2
# With these, PEFT's ties and lorary's are the same: the mean of the entries that agree.
WEIGHTS = [1.0] * NUM_EXPERTS


class Method(NamedTuple):
    """One way to merge, on one of the sides."""

    is_peft: bool
    name: str
    options: Mapping[str, Any]
    kind: str
    """The exact result that it approximates: the weighted sum, ``ties`` or ``dare_ties``."""


METHODS = {
    "lorary cat": Method(False, "cat", {}, "sum"),
    "lorary linear": Method(False, "linear", {}, "sum"),
    "lorary ties": Method(False, "ties", {"density": DENSITY}, "ties"),
    "lorary ties, core": Method(False, "ties", {"density": DENSITY, "space": "core"}, "ties"),
    "lorary dare_ties": Method(False, "dare_ties", {"density": DENSITY}, "dare_ties"),
    "PEFT cat": Method(True, "cat", {}, "sum"),
    "PEFT linear": Method(True, "linear", {}, "sum"),
    "PEFT svd": Method(True, "svd", {}, "sum"),
    "PEFT ties": Method(True, "ties", {"density": DENSITY}, "ties"),
    "PEFT ties_svd": Method(True, "ties_svd", {"density": DENSITY}, "ties"),
    "PEFT dare_ties_svd": Method(True, "dare_ties_svd", {"density": DENSITY}, "dare_ties"),
}
WIDE_METHODS = ("lorary linear", "lorary ties", "PEFT svd", "PEFT ties_svd")


def measure(options: Options) -> list[Table]:
    """Measure merges of experts of the base model's shape, then of one wide layer."""
    num_layers = 7 if options.quick else None
    width = 64 if options.quick else WIDE
    return [
        _compare(
            f"merging {NUM_EXPERTS} experts of rank {RANK}, {num_layers or 'all'} layers of {options.base}",
            list(METHODS),
            (options.base, num_layers),
            options.repeats,
        ),
        _compare(
            f"merging {NUM_EXPERTS} experts of rank {RANK}, one layer of {width} × {width}",
            WIDE_METHODS,
            (width,),
            1 if not options.quick else options.repeats,
        ),
    ]


def _compare(title: str, names: "list[str] | tuple[str, ...]", size: tuple[Any, ...], repeats: int) -> Table:
    experts = _draw(*size)
    merger = PeftMerger(experts)
    sides = {name: _make_side(METHODS[name], experts, merger) for name in names}
    times = interleave(sides, repeats)
    rows = [_describe(name, times, experts, merger, size) for name in names]
    return Table(
        title=title,
        rows=rows,
        note=f"All weights 1, density {DENSITY}; the merged rank is {RANK}, with cat {NUM_EXPERTS * RANK}. "
        "Error: |merged − exact| / |exact| over a few layers, where exact is the weighted sum, or the "
        "uncut ties of dense weight changes in float64; cutting to the rank is part of it, and the best "
        "possible cut has the error in the next column. Memory: most beyond what the experts take.",
    )


def _make_side(method: Method, experts: Mapping[str, Expert], merger: PeftMerger) -> Side:
    if method.is_peft:
        return Side(lambda _: _merge_peft(method, merger), prepare=merger.forget)
    return Side(lambda: _merge_ours(method, experts))


def _merge_ours(method: Method, experts: Mapping[str, Expert]) -> Expert:
    options = {"rank": "full"} if method.name == "cat" else {}
    return merge(experts, method.name, weights=WEIGHTS, **options, **method.options)


def _merge_peft(method: Method, merger: PeftMerger) -> None:
    merger.merge(method.name, WEIGHTS, method.options)


def _describe(
    name: str,
    times: Mapping[str, Times],
    experts: Mapping[str, Expert],
    merger: PeftMerger,
    size: tuple[Any, ...],
) -> dict[str, Cell]:
    method = METHODS[name]
    find = _find_factors(method, experts, merger)
    errors, best = _measure_errors(find, method, experts)
    peak = measure_peak(_run_alone, _prepare_alone, name, *size)
    return {
        "side": name,
        "s": spread_times(times[name]),
        "PEFT svd's time / this": ratio(times["PEFT svd"], times[name]),
        "ties_svd's time / this": ratio(times["PEFT ties_svd"], times[name]),
        "error": errors,
        "best cut's": best,
        "MB": peak.extra / 1e6,
    }


def _find_factors(
    method: Method, experts: Mapping[str, Expert], merger: PeftMerger
) -> Callable[[str], Factors]:
    """Merge once more, and return a function that finds a layer of the result."""
    if method.is_peft:
        merger.forget()
        _merge_peft(method, merger)
        return merger.factors
    merged = _merge_ours(method, experts)
    return lambda path: merged.factors[path]


def _measure_errors(
    find: Callable[[str], Factors], method: Method, experts: Mapping[str, Expert], num_layers: int = 7
) -> tuple[float | None, float | None]:
    """Compare a few layers with the exact merge; random methods have none for comparison."""
    if method.kind == "dare_ties":
        return None, None
    errors, best = [], []
    for path in list(next(iter(experts.values())).factors)[:num_layers]:
        exact = _merge_densely([expert.factors[path] for expert in experts.values()], method.kind)
        a, b = find(path)
        rank = a.shape[0]
        errors.append(float((b.double() @ a.double() - exact).norm() / exact.norm()))
        rest = torch.linalg.svdvals(exact)[rank:]
        best.append(float(rest.norm() / exact.norm()))
    return sum(errors) / len(errors), sum(best) / len(best)


def _merge_densely(pairs: list[Factors], kind: str) -> torch.Tensor:
    """Merge one layer by the definition: ``[O, I]``, float64."""
    changes = torch.stack([b.double() @ a.double() for a, b in pairs])
    if kind == "sum":
        return changes.sum(0)
    num_kept = round(DENSITY * changes[0].numel())
    least = changes.abs().flatten(1).topk(num_kept).values[:, -1]
    trimmed = torch.where(changes.abs() >= least[:, None, None], changes, 0.0)
    agrees = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)
    return torch.where(agrees, trimmed, 0.0).sum(0) / agrees.sum(0).clamp(min=1)


def _prepare_alone(name: str, *size: Any) -> tuple[Method, dict[str, Expert], PeftMerger | None]:
    method, experts = METHODS[name], _draw(*size)
    return method, experts, PeftMerger(experts) if method.is_peft else None


def _run_alone(prepared: tuple[Method, dict[str, Expert], PeftMerger | None]) -> object:
    method, experts, merger = prepared
    return _merge_ours(method, experts) if merger is None else _merge_peft(method, merger)


def _draw(base: "str | int", num_layers: int | None = None) -> dict[str, Expert]:
    """Draw the experts: for a base model by its name, or for one square layer of a width."""
    names = [f"expert-{seed}" for seed in range(NUM_EXPERTS)]
    if isinstance(base, str):
        model = load_bench_base(base, torch.float32)
        # float32, as training leaves them.
        return {
            name: draw_expert(
                name, model, seed=seed, decay=DECAYING, dtype=torch.float32, num_layers=num_layers
            )
            for seed, name in enumerate(names)
        }
    experts = {}
    for seed, name in enumerate(names):
        drawn = torch.Generator().manual_seed(seed)
        a = torch.randn(RANK, base, generator=drawn) / base**0.5
        b = torch.randn(base, RANK, generator=drawn) / base**0.5
        experts[name] = Expert(name, "wide", {"layers.0.proj": Factors(a, b)})
    return experts
