"""The methods that examples/few_shot.py compares, and its tables."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console

from lorary.reports import render_markdown, render_table
from lorary.reports.tables import Cell, Grid, Row

VARIANTS: dict[str, dict[str, Any]] = {
    "fresh": {"method": "fresh"},
    "multi-task": {"method": "multi-task", "multi_task": "multi-task"},
    "nearest": {"method": "nearest"},
    "nearest, random": {"method": "nearest", "by": "random"},
    "nearest, cosine": {"method": "nearest", "by": "cosine"},
    "average": {"method": "average"},
    "average of 5": {"method": "average", "retrieve": 5},
    "wudi of 5": {"method": "wudi", "retrieve": 5},
    "arrow of 5": {"method": "arrow", "retrieve": 5},
    "calibrated": {"method": "calibrated"},
    "weights of 20": {"method": "weights", "retrieve": 20},
    "lorahub of 20": {"method": "lorahub", "retrieve": 20, "by": "random"},
    "poly-z of 20": {"method": "poly-z", "retrieve": 20},
    "mhr-z of 20": {"method": "mhr-z", "retrieve": 20},
    "poly-mu of 5": {"method": "poly-mu", "retrieve": 5},
    "poly, joint skills": {"method": "poly", "skills": "skills-0"},
    "poly-z, joint skills": {"method": "poly-z", "skills": "skills-0"},
    "poly-mu, joint skills": {"method": "poly-mu", "skills": "skills-0"},
}
"""Name -> options of ``AdaptConfig``. Joint skills are those of examples/joint_skills.py."""
REFERENCES = ("fresh", "multi-task")
Line = dict[str, Any]


def read_lines(place: Path) -> list[Line]:
    """Read the finished measurements."""
    return [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []


def print_tables(lines: list[Line], out: Path, name: str) -> None:
    """Print a table for each number of examples and each training, and write them as Markdown."""
    groups = defaultdict(list)
    for line in lines:
        groups[line["num_examples"], line["learning_rate"], line["epochs"]].append(line)
    console, texts = Console(), []
    for (num_examples, rate, epochs), own in sorted(groups.items()):
        title = f"{num_examples} examples, learning rate {rate:g}, {epochs:g} epochs: test loss"
        grid = arrange(own, title)
        console.print(render_table(grid, console.width))
        texts.append(render_markdown(grid))
    (out / f"few-shot-{name}.md").write_text("\n".join(texts))


def arrange(lines: list[Line], title: str) -> Grid:
    """Arrange the methods, the best first: means over tasks and seeds, and paired differences."""
    losses: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for line in lines:
        place = line["task"], line["seed"]
        losses[line["method"]][place] = mean(line["losses"]["own"])
        if "base" in line["losses"]:
            losses["base"][place] = mean(line["losses"]["base"])
    rows = []
    for method, own in sorted(losses.items(), key=lambda item: mean(item[1].values())):
        mine = [line for line in lines if line["method"] == method]
        cells = [Cell(text=str(len(own))), Cell(text=f"{mean(own.values()):.3f}")]
        cells += [compare(own, losses.get(rival, {})) for rival in REFERENCES]
        cells += describe_cost(mine)
        rows.append(Row(label=method, cells=tuple(cells)))
    return Grid(
        title=f"{title}, nats per target token (lower is better)",
        columns=("runs", "loss", *(f"minus {rival}" for rival in REFERENCES), "read + trained", "seconds"),
        rows=tuple(rows),
        note="A run is one task and seed. ± is the paired standard error over the runs that both have. "
        "Tokens and seconds are means per run; tasks of a seed are trained together.",
    )


def describe_cost(lines: list[Line]) -> list[Cell]:
    """Describe mean tokens and seconds of a method; the base model alone has none."""
    if not lines:
        return [Cell(text=""), Cell(text="")]
    read, trained, seconds = (
        f"{mean(line[what] for line in lines):,.0f}" for what in ("tokens_read", "tokens_trained", "seconds")
    )
    return [Cell(text=f"{read} + {trained}"), Cell(text=seconds)]


def compare(own: dict[tuple[str, int], float], other: dict[tuple[str, int], float]) -> Cell:
    """Compare two methods on the runs that both have."""
    found = [own[place] - other[place] for place in own.keys() & other.keys()]
    if len(found) < 2 or not any(found):
        return Cell(text="–")
    return Cell(
        text=f"{mean(found):+.3f}", error=f"±{stdev(found) / len(found) ** 0.5:.3f}".replace("±0", "±")
    )
