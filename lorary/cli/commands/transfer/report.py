"""The transfer matrix on the screen, and as JSON, Markdown and pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lorary.adaptation import TransferMatrix
from lorary.adaptation.transfer_matrix.matrix import BASE, FRESH
from lorary.cli.console import print_table
from lorary.cli.printing import print_line
from lorary.files import write_whole
from lorary.reports import render_markdown
from lorary.reports.tables import Cell, Grid, Row
from lorary.reports.transfer_plot import plot_transfer

BY_TASK = ("task", "base", "fresh", "best", "better", "best start")
BY_START = ("start", "mean gain", "error", "tasks better", "experts")
MOST_SHOWN = 10


def print_matrix(matrix: TransferMatrix) -> None:
    """Print a row per task, then the starts that are best on average."""
    print_line("validation loss after training, nats per target token")
    print_table(BY_TASK, tabulate_tasks(matrix), BY_TASK[1:5])
    ranked = matrix.rank_starts()
    shown = f"the best {MOST_SHOWN} of {len(ranked)} starts" if len(ranked) > MOST_SHOWN else "starts"
    print_line(f"{shown}, by the mean gain: loss of fresh minus loss of the start")
    print_table(BY_START, tabulate_starts(matrix)[:MOST_SHOWN], BY_START[1:])


def tabulate_tasks(matrix: TransferMatrix) -> list[tuple[str, ...]]:
    """Describe each task: losses of the controls and the best start, and how many starts beat fresh."""
    starts = [name for name, parts in matrix.starts.items() if parts]
    gains = matrix.gains()
    rows = []
    for task in matrix.tasks:
        best = min(starts, key=lambda name: (matrix.cells[name][task].after, name))
        losses = (f"{matrix.cells[name][task].after:.3f}" for name in (BASE, FRESH, best))
        num_better = sum(gains[name][task] > 0 for name in starts)
        rows.append((task, *losses, f"{num_better}/{len(starts)}", best))
    return rows


def tabulate_starts(matrix: TransferMatrix) -> list[tuple[str, ...]]:
    """Describe each start, the best first: its gain over fresh, with the standard error over tasks."""
    gains = matrix.gains()
    return [
        (
            name,
            f"{mean:+.3f}",
            "" if error is None else f"±{error:.3f}",
            f"{sum(gain > 0 for gain in gains[name].values())}/{len(matrix.tasks)}",
            str(len(matrix.starts[name])),
        )
        for name, mean, error in matrix.rank_starts()
    ]


def summarize_matrix(matrix: TransferMatrix) -> dict[str, Any]:
    """Describe the matrix in JSON values, with the ranking of starts."""
    ranked = [
        {"start": name, "mean_gain": mean, "standard_error": error}
        for name, mean, error in matrix.rank_starts()
    ]
    return {**asdict(matrix), "ranking": ranked}


def write_matrix(out: Path, matrix: TransferMatrix) -> None:
    """Write ``transfer.json``, ``table.md`` and the pictures."""
    matrix.to_json(out / "transfer.json")
    tables = (arrange_losses(matrix, which) for which in ("before", "after"))
    write_whole(out / "table.md", "\n".join(render_markdown(grid) for grid in tables).encode())
    starts, tasks = list(matrix.starts), list(matrix.tasks)
    before, after = (
        np.array([[getattr(matrix.cells[name][task], which) for task in tasks] for name in starts])
        for which in ("before", "after")
    )
    plot_transfer(out / "transfer.png", starts, tasks, before, after, fresh=FRESH, base=BASE)


def arrange_losses(matrix: TransferMatrix, which: str) -> Grid:
    """Arrange the losses before or after training: a row per start, a column per task, and the mean."""
    tasks = list(matrix.tasks)
    values = {name: [getattr(matrix.cells[name][task], which) for task in tasks] for name in matrix.starts}
    means = {name: sum(row) / len(row) for name, row in values.items()}
    rows = {name: [*row, means[name]] for name, row in values.items()}
    best = [min(column) for column in zip(*rows.values(), strict=True)]
    return Grid(
        title=f"validation loss {which} training, nats per target token (lower is better)",
        columns=(*tasks, "mean"),
        rows=tuple(
            Row(
                label=name,
                cells=tuple(
                    Cell(text=f"{value:.3f}", is_best=value == least)
                    for value, least in zip(row, best, strict=True)
                ),
            )
            for name, row in rows.items()
        ),
        marked="the best value of each column",
    )
