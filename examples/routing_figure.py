"""Draw the means of routes that examples/routing.py measured: docs/results/routing.svg.

    python examples/routing_figure.py runs/library --suffix "" .all .on-top --to docs/results/routing.svg

A bar for each route and set of tasks, with the standard error over examples; experts on top of a general one
have a colour of their own, and so have LoRAs of all tasks.
"""

import argparse
from functools import reduce
from pathlib import Path

import matplotlib.pyplot as plt

from lorary.evaluation import Result

TITLES = {
    "seen": "the library's own tasks",
    "unseen": "tasks that no expert saw",
    "bare": "without definitions",
}
ON_TOP, GENERAL = "on top: ", "general: "
COLOURS = {"on top": "#0072b2", "all tasks": "#e69f00", "plain": "#999999"}


def main() -> None:
    """Read the results and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--sets", nargs="+", choices=TITLES, default=["seen", "unseen"])
    parser.add_argument("--suffix", nargs="+", default=[""], help="of the files' names")
    parser.add_argument("--without", nargs="*", default=["base", "random"], help="routes that are not drawn")
    parser.add_argument("--to", type=Path, default=Path("routing.svg"))
    args = parser.parse_args()
    plt.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(1, len(args.sets), figsize=(4.6 * len(args.sets), 4.2), layout="constrained")
    for axis, name in zip(axes, args.sets, strict=True):
        found = [Result.from_json(args.out / f"routing-{name}{suffix}.json") for suffix in args.suffix]
        draw(axis, reduce(Result.merge, found), args.without)
        axis.set_title(TITLES[name])
    figure.legend(
        [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()],
        ["experts on top of a general one", "LoRAs of all tasks", "plain experts"],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.savefig(args.to)


def draw(axis: plt.Axes, result: Result, without: list[str]) -> None:
    """Draw one set's routes, the best at the top."""
    means = {route: result.overall(route, "loss") for route in result.routes if route not in without}
    routes = sorted(means, key=lambda route: -means[route].mean)
    for place, route in enumerate(routes):
        kind = "on top" if route.startswith(ON_TOP) else "all tasks" if "multi-task" in route else "plain"
        value = means[route]
        axis.barh(
            place, value.mean, xerr=value.standard_error, color=COLOURS[kind], ecolor="#444444", capsize=2
        )
        axis.text(0.03, place, f"{value.mean:.2f}", va="center", color="white", fontsize=8)
    names = [route.removeprefix(ON_TOP).replace(GENERAL, "general as fallback, ") for route in routes]
    axis.set_yticks(range(len(routes)), names)
    axis.set_xlabel("loss, nats per token (less is better)")
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
