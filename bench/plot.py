"""Draw how cost grows, from the JSON that `python -m bench growth --out FILE` wrote.

python -m bench.plot runs/growth.json docs/results/growth.png
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LABELS = {
    "experts": "experts",
    "top_k": "experts per token",
    "rank": "rank",
    "tokens": "tokens at once",
    "first_rank": "rank of one expert among rank 8",
}
MEASURED, FLOOR = "#1f5fa8", "#8a8a8a"


def main() -> None:
    """Read the report and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    draw_growth(json.loads(args.report.read_text())["benches"]["growth"], args.picture)


def draw_growth(tables: Sequence[Mapping[str, Any]], picture: Path) -> None:
    """Draw one panel per size: the ratio to the base model with its extremes, and the lower bound."""
    figure = Figure(figsize=(3.1 * len(tables), 3.4), layout="constrained")
    panels = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for panel, table in zip(panels, tables, strict=True):
        _draw_panel(panel, table["rows"])
    highest = max(row["× base"]["high"] for table in tables for row in table["rows"])
    panels[0].set_ylim(0.9, 1.1 * highest)  # least bytes may be far above, where work is what counts
    panels[0].set_ylabel("time, in units of the base model's")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(picture, dpi=150)


def _draw_panel(panel: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axis = next(iter(rows[0]))
    places = range(len(rows))
    ratios = [row["× base"] for row in rows]
    middle = [ratio["value"] for ratio in ratios]
    spans = (
        [ratio["value"] - ratio["low"] for ratio in ratios],
        [ratio["high"] - ratio["value"] for ratio in ratios],
    )
    panel.errorbar(places, middle, spans, marker="o", capsize=3, color=MEASURED, label="measured")
    panel.plot(places, [row["least work"] for row in rows], "--", color=FLOOR, label="least work")
    panel.plot(places, [row["least bytes"] for row in rows], ":", color=FLOOR, label="least bytes")
    panel.set_xticks(places, [str(row[axis]) for row in rows])
    panel.set_xlabel(LABELS[axis])
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
