"""Draw the results of examples/few_shot.py: docs/results/few-shot.svg.

    python examples/few_shot_figure.py runs/library --num-examples 20 --to docs/results/few-shot.svg

A line for each method: its test loss minus that of the multi-task LoRA, with the standard error over tasks.
"""

import argparse
from pathlib import Path

from few_shot_tables import find_difference, find_losses, read_lines
from few_shot_variants import ON_GENERAL

from lorary.files.picture import open_picture

RIVAL = "multi-task"
COLOURS = {True: "#0072b2", False: "#666666"}


def main() -> None:
    """Read the measurements of the eight tasks and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-examples", type=int, default=20)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--to", type=Path, default=Path("few-shot.svg"))
    args = parser.parse_args()
    lines = [
        line
        for line in read_lines(args.out / "few-shot.jsonl")
        if (line["set"], line["num_examples"], line["rank"]) == ("test", args.num_examples, args.rank)
    ]
    losses = find_losses(lines)
    found = {name: find_difference(own, losses[RIVAL]) for name, own in losses.items() if name != "base"}
    rows = sorted(
        ((name, difference) for name, difference in found.items() if difference),
        key=lambda row: -row[1][0],
    )
    with open_picture(args.to, 6.4, 1.2 + 0.25 * len(rows), dpi=120) as figure:
        axis = figure.subplots()
        for place, (name, (mean, error)) in enumerate(rows):
            colour = COLOURS[name.endswith(ON_GENERAL)]
            axis.errorbar(mean, place, xerr=error, fmt="o", color=colour, capsize=2, markersize=4)
        axis.set_yticks(range(len(rows)), [name for name, _ in rows], size=8)
        axis.axvline(0, color="#e69f00")
        axis.set_xlabel(
            "test loss minus that of the multi-task LoRA, nats per token (lower is better)", size=8
        )
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
