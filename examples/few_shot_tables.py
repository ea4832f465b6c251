"""The tables of examples/few_shot.py."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from rich.console import Console

from lorary.reports import render_markdown, render_table
from lorary.reports.tables import Cell, Grid, Row

REFERENCES = ("fresh", "multi-task")
Line = dict[str, Any]
Run = tuple[str, int]


def read_lines(place: Path) -> list[Line]:
    """Read the finished measurements."""
    return [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []


def print_tables(lines: list[Line], out: Path, name: str) -> None:
    """Print a table for each number of examples, rank and training, and write them as Markdown."""
    groups = defaultdict(list)
    for line in lines:
        groups[line["num_examples"], line["rank"], line["learning_rate"], line["epochs"]].append(line)
    console, texts = Console(), []
    for (num_examples, rank, rate, epochs), own in sorted(groups.items()):
        title = f"{num_examples} examples, rank {rank}, learning rate {rate:g}, {epochs:g} epochs: test loss"
        grid = arrange(own, title)
        console.print(render_table(grid, console.width))
        texts.append(render_markdown(grid))
    (out / f"few-shot-{name}.md").write_text("\n".join(texts))


def find_losses(lines: list[Line]) -> dict[str, dict[Run, float]]:
    """Return the mean test loss of each method's runs, and of the base model's."""
    losses: dict[str, dict[Run, float]] = defaultdict(dict)
    for line in lines:
        place = line["task"], line["seed"]
        losses[line["method"]][place] = mean(line["losses"]["own"])
        if "base" in line["losses"]:
            losses["base"][place] = mean(line["losses"]["base"])
    return losses


def arrange(lines: list[Line], title: str) -> Grid:
    """Arrange the methods, the best first: means over tasks and seeds, and paired differences."""
    losses = find_losses(lines)
    rows = []
    for method, own in sorted(losses.items(), key=lambda item: mean(item[1].values())):
        mine = [line for line in lines if line["method"] == method]
        cells = [Cell(text=str(len(own))), describe_validation(mine), Cell(text=f"{mean(own.values()):.3f}")]
        cells += [compare(own, losses.get(rival, {})) for rival in REFERENCES]
        rows.append(Row(label=method, cells=(*cells, describe_cost(mine))))
    return Grid(
        title=f"{title}, nats per target token (lower is better)",
        columns=(
            "runs",
            "validation",
            "test",
            *(f"minus {rival}" for rival in REFERENCES),
            "tokens; seconds",
        ),
        rows=tuple(rows),
        note="A run is one task and seed. Validation: the loss before training, and the best. Differences "
        "are of the test losses, over the runs that both have; ± is the standard error over tasks, of means "
        "over seeds. Tokens are read + trained on, means per run; tasks of a seed are trained together.",
    )


def describe_validation(lines: list[Line]) -> Cell:
    """Describe mean validation loss before training and the best; none for a method without validation."""
    curves = [line["validation"] for line in lines]
    if not curves or not all(curves):
        return Cell(text="")
    return Cell(text=f"{mean(own[0] for own in curves):.3f} → {mean(map(min, curves)):.3f}")


def describe_cost(lines: list[Line]) -> Cell:
    """Describe mean tokens and seconds of a method; the base model alone has none."""
    if not lines:
        return Cell(text="")
    read, trained, seconds = (
        f"{mean(line[what] for line in lines):,.0f}" for what in ("tokens_read", "tokens_trained", "seconds")
    )
    return Cell(text=f"{read} + {trained}; {seconds}")


def compare(own: dict[Run, float], other: dict[Run, float]) -> Cell:
    """Describe the difference of two methods."""
    found = find_difference(own, other)
    if found is None:
        return Cell(text="–")
    return Cell(text=f"{found[0]:+.3f}", error=f"±{found[1]:.3f}".replace("±0", "±"))


def find_difference(own: dict[Run, float], other: dict[Run, float]) -> tuple[float, float] | None:
    """Compare two methods on the runs that both have: means over seeds, then over tasks, with its error."""
    of_task = defaultdict(list)
    for task, seed in own.keys() & other.keys():
        of_task[task].append(own[task, seed] - other[task, seed])
    found = [mean(of_task[task]) for task in sorted(of_task)]
    if len(found) < 2 or not any(found):
        return None
    return mean(found), stdev(found) / len(found) ** 0.5
