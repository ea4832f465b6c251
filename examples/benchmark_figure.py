"""Draw docs/results/benchmarks.svg from results of ``lorary eval --harness … --out``.

    python examples/benchmark_figure.py runs/choice/results.json runs/generated/results.json \
        --routes uniform expert:wudi arrow calibrated multi-task-all oracle --to docs/results/benchmarks.svg

A panel for each route: its paired difference to the base model on each benchmark and over all of them, with
95% intervals. Filled marks are differences that remain after Holm's correction, as in the tables.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_results import Compared, compare_all, read_arguments, read_scores, say, say_uses
from matplotlib.lines import Line2D

from lorary.evaluation.compare import Difference
from lorary.files.picture import open_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, also for colour-blind readers; the shapes have the same meaning.
LOOKS = {
    "better": ("#0072b2", ">"),
    "worse": ("#d55e00", "<"),
    "none": ("#595959", "o"),
    None: ("#595959", "o"),
}
MEAN = "all of these"
MOST_COLUMNS = 4


def main() -> None:
    """Read the results and draw."""
    args = read_arguments(__doc__, to=Path("benchmarks.svg"))
    result = read_scores(args)
    compared = compare_all(result, args.against)
    tasks = [task for task in result.tasks if any(task in each.by_task for each in compared)]
    columns = min(len(compared), MOST_COLUMNS)
    rows = -(-len(compared) // columns)
    with open_picture(args.to, 7.0, rows * (0.75 + 0.19 * len(tasks)) + 0.55, dpi=100) as figure:
        axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
        for axis, each in zip(axes, compared, strict=False):
            draw(axis, each, tasks)
        for axis in axes[len(compared) :]:
            axis.remove()
        for axis in axes[max(0, len(compared) - columns) : len(compared)]:
            axis.tick_params(axis="x", labelbottom=True)
        figure.supxlabel(f"score minus that of {say(args.against)}, 95% interval", size=9)
        figure.legend(
            [Line2D([], [], **style(finding), linestyle="") for finding in ("better", "worse", "none")],
            ["shown better", "shown worse", "no difference shown"],
            loc="outside upper center",
            ncols=3,
            frameon=False,
            fontsize=8,
        )


def draw(axis: "Axes", compared: Compared, tasks: list[str]) -> None:
    """Draw one route: the benchmarks from the top, and the mean below them."""
    places = {task: len(tasks) - place for place, task in enumerate(tasks)}
    axis.axvline(0, color="#000000", linewidth=0.8)
    axis.axhline(0.5, color="#bbbbbb", linewidth=0.6)
    for task, difference in compared.by_task.items():
        draw_difference(axis, places[task], difference, size=4)
    draw_difference(axis, 0, compared.overall, size=5.5)
    axis.set_yticks([0, *places.values()], [MEAN, *map(say, tasks)], size=8)
    axis.set_ylim(-0.7, len(tasks) + 0.6)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#dddddd", linewidth=0.5)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    uses = say_uses(compared.route)
    axis.set_title(say(compared.route) + (f"\n({uses})" if uses else "\n"), size=8)


def draw_difference(axis: "Axes", place: float, difference: Difference, size: float) -> None:
    """Draw a difference with its interval."""
    look = style(difference.finding)
    if difference.low is not None and difference.high is not None:
        axis.plot([difference.low, difference.high], [place, place], color=look["color"], linewidth=size / 3)
    axis.plot(difference.mean, place, **{**look, "markersize": size})


def style(finding: str | None) -> dict[str, str | float]:
    """Return the look of a mark: filled if a difference is shown."""
    colour, marker = LOOKS[finding]
    face = "#ffffff" if finding in ("none", None) else colour
    return {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 5.0}


if __name__ == "__main__":
    main()
