"""Draw the means of routes that examples/routing.py measured: docs/results/routing.svg.

    python examples/routing_figure.py runs/library --suffix .plain .on-top --to docs/results/routing.svg

A bar for each route and set of tasks, with the standard error over examples; the colour shows the kind
of contestant, and the dashed line is the LoRA of all tokens.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
from routing_tables import read

from lorary.evaluation import Result

TITLES = {
    "seen": "the library's own tasks",
    "unseen": "tasks that no expert saw",
    "bare": "own tasks, without definitions",
}
ON_TOP, FALLBACK, CLUSTERS, MERGE = "on top: ", "fallback ", "clusters: ", "merge: "
KINDS = {
    ON_TOP: ("experts on top of a general one", "#0072b2"),
    FALLBACK: ("plain experts with one LoRA as fallback", "#56b4e9"),
    "": ("plain experts", "#999999"),
    CLUSTERS: ("clusters", "#cc79a7"),
    MERGE: ("one merge of the plain experts", "#009e73"),
    "multi-task": ("one LoRA of all tasks", "#e69f00"),
}
RIVAL = "multi-task-all"


def main() -> None:
    """Read the results and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", choices=TITLES, default=["seen", "unseen"])
    parser.add_argument("--suffix", nargs="+", default=[""], help="of the files' names")
    parser.add_argument("--routes", nargs="+", help="that are drawn; if not given, all but base and random")
    parser.add_argument("--to", type=Path, default=Path("routing.svg"))
    args = parser.parse_args()
    plt.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(1, len(args.sets), figsize=(4.8 * len(args.sets), 5), layout="constrained")
    drawn = set()
    for axis, name in zip(axes, args.sets, strict=True):
        drawn |= draw(axis, read(args.out, name, args.suffix), args.routes)
        axis.set_title(TITLES[name])
    kinds = [kind for kind in KINDS if kind in drawn]
    figure.legend(
        [plt.Rectangle((0, 0), 1, 1, color=KINDS[kind][1]) for kind in kinds],
        [KINDS[kind][0] for kind in kinds],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.savefig(args.to)


def draw(axis: plt.Axes, result: Result, chosen: list[str] | None) -> set[str]:
    """Draw one set's routes, the best at the top; return their kinds."""
    routes = [
        route
        for route in result.routes
        if (route not in ("base", "random") if chosen is None else route in chosen)
    ]
    means = {route: result.overall(route, "loss") for route in routes}
    routes = sorted(routes, key=lambda route: -means[route].mean)
    kinds = [find_kind(route) for route in routes]
    for place, (route, kind) in enumerate(zip(routes, kinds, strict=True)):
        value = means[route]
        colour = KINDS[kind][1]
        axis.barh(place, value.mean, xerr=value.standard_error, color=colour, ecolor="#444444", capsize=2)
        axis.text(0.03, place, f"{value.mean:.2f}", va="center", color="white", fontsize=8)
    if RIVAL in means:
        axis.axvline(means[RIVAL].mean, color="#444444", linestyle="--", linewidth=0.8)
    axis.set_yticks(range(len(routes)), [name_bar(route) for route in routes], fontsize=8)
    axis.set_xlabel("loss, nats per token (lower is better)")
    axis.spines[["top", "right"]].set_visible(False)
    return set(kinds)


def find_kind(route: str) -> str:
    """Find the kind of contestant by the beginning of a route's name."""
    return next((kind for kind in KINDS if kind and route.startswith(kind)), "")


def name_bar(route: str) -> str:
    """Name a bar; its colour shows the rest."""
    if route.startswith(FALLBACK):
        fallback, _, name = route.removeprefix(FALLBACK).partition(": ")
        return f"{name}, else {fallback}"
    return route.removeprefix(ON_TOP).removeprefix(CLUSTERS).removeprefix(MERGE)


if __name__ == "__main__":
    main()
