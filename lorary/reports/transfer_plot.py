"""A picture of a transfer matrix: the value of every start for every new task, before and after training.

S starts, N new tasks.
"""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lorary.files import quote
from lorary.files.picture import open_picture
from lorary.reports.tables import plot_label

Matrix = NDArray[np.float64]

MAX_LABEL = 32
MAX_NUMBERED = 24
"""Most tasks with which numbers in the cells are readable."""
MAX_LABELLED = 120
"""Most starts with which their names are readable."""
# Cells beyond the scale have its last colour: otherwise controls would make all other cells pale.
SHARE_ON_SCALE = 0.95


def plot_transfer(
    path: str | os.PathLike[str],
    starts: Sequence[str],
    tasks: Sequence[str],
    before: Matrix,
    after: Matrix,
    *,
    fresh: str = "fresh",
    base: str = "base",
) -> None:
    """Draw two heat maps of loss differences, or one if nothing was trained.

    The left one has each start's loss before training minus that of the base model, the right one the loss
    after training minus that of a fresh expert with the same training. Blue is better, red is worse, white is
    equal. Starts are sorted by the mean of the right map; the last column of each map is the mean over tasks.

    Args:
        path: the picture's path; beside a PNG, the same picture is written as SVG and PDF.
        starts: names of the starts, with the two controls.
        tasks: names of the new tasks.
        before: losses before training, ``[S, N]``.
        after: losses after training, ``[S, N]``.
        fresh: name of the control to which losses after training are compared.
        base: name of the control to which losses before training are compared.

    Raises:
        ValueError: if a matrix has another shape or a number that is not finite, or a control is missing.
    """
    _check(starts, tasks, before, after, (fresh, base))
    alone = before - before[starts.index(base)]
    gained = after - after[starts.index(fresh)]
    order = sorted(range(len(starts)), key=lambda row: (gained[row].mean(), starts[row]))
    labels = [starts[row] for row in order]
    has_names = len(starts) <= MAX_LABELLED
    maps = {"before training, minus base model": alone, "after training, minus fresh expert": gained}
    if np.array_equal(before, after):
        maps = {"without training, minus base model": alone}
    width = 3.6 + len(maps) * (1.0 + 0.46 * (len(tasks) + 1))
    height = 3.0 + (0.19 if has_names else 0.05) * len(starts)
    with open_picture(path, width, height, dpi=120) as figure:
        all_axes = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
        for axes, (title, values) in zip(all_axes, maps.items(), strict=True):
            _draw(axes, _add_mean(values[order]), tasks, title)
        left = all_axes[0]
        names = [plot_label(name, MAX_LABEL) for name in labels] if has_names else []
        left.set_yticks(range(len(names)), names, size=7)
        for row, label in enumerate(left.get_yticklabels()):
            label.set_fontweight("bold" if labels[row] in (fresh, base) else "normal")
        left.set_ylabel(
            f"start, the best {'after training ' if len(maps) > 1 else ''}first ({len(starts)})", size=8
        )


def _check(
    starts: Sequence[str], tasks: Sequence[str], before: Matrix, after: Matrix, controls: Sequence[str]
) -> None:
    for control in controls:
        if control not in starts:
            raise ValueError(f"a picture of transfer needs the control {quote(control)} among the starts")
    if not tasks:
        raise ValueError("a picture of transfer needs at least one task, found none")
    for matrix in (before, after):
        if matrix.shape != (len(starts), len(tasks)) or not np.isfinite(matrix).all():
            raise ValueError(
                f"losses must be finite numbers [{len(starts)}, {len(tasks)}], one per start and task, found "
                f"{list(matrix.shape)} with {int((~np.isfinite(matrix)).sum())} that are not finite"
            )


def _add_mean(values: Matrix) -> Matrix:
    return np.concatenate([values, values.mean(1, keepdims=True)], axis=1)


def _draw(axes: Axes, values: Matrix, tasks: Sequence[str], title: str) -> None:
    """Draw one map ``[S, N + 1]``; its scale is symmetric around zero."""
    limit = float(np.quantile(np.abs(values), SHARE_ON_SCALE)) or 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_title(title, size=9, loc="left")
    labels = [*(plot_label(task, MAX_LABEL) for task in tasks), "mean"]
    axes.set_xticks(range(len(labels)), labels, rotation=90, size=7)
    axes.axvline(len(tasks) - 0.5, color="white", linewidth=3)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7, extend="both", aspect=40)
    bar.set_label("loss difference, nats per token (below zero is better)", size=7)
    bar.ax.tick_params(labelsize=7)
    if len(tasks) <= MAX_NUMBERED and len(values) <= MAX_LABELLED:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(column, row, f"{value:z.2f}", ha="center", va="center", color=colour, size=5.5)
