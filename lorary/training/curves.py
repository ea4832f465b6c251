"""Loss curves of a run, as JSON and as one picture."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorary.files import escape, say_count, write_whole
from lorary.files.picture import open_picture
from lorary.training.progress import UnitProgress

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS = 6
MAX_TITLE = 30
# Maximum number of drawn experts; more would exceed the height of a picture.
MAX_DRAWN = 600
TRAIN, VALIDATION = "#8fb3d9", "#c2410c"


def save_curves(path: str | Path, progress: Mapping[str, UnitProgress]) -> None:
    """Write the curves of all experts as one JSON object, by expert.

    Args:
        path: the file; an existing one is replaced.
        progress: expert name -> its progress.
    """
    records = {
        name: {
            "steps": found.step,
            "tokens": found.tokens,
            "best_step": found.best_step,
            "best_validation_loss": found.best_loss,
            "train": found.train_curve,
            "validation": found.validation_curve,
        }
        for name, found in progress.items()
    }
    write_whole(Path(path), json.dumps(records, allow_nan=False) + "\n")


def plot_curves(path: str | Path, progress: Mapping[str, UnitProgress]) -> None:
    """Draw the training and validation losses of all experts into one picture, with a small plot for each.

    Training losses are smoothed, since those of single batches vary strongly. A dot marks the step whose
    weights were kept. If there are more than 600 experts, the first 600 are drawn.

    Args:
        path: the picture's path; beside a PNG, the same picture is written as SVG and PDF.
        progress: expert name -> its progress, at least one.

    Raises:
        ValueError: if there is no expert.
    """
    if not progress:
        raise ValueError("a picture of loss curves needs at least one expert, found none")
    drawn = list(progress.items())[:MAX_DRAWN]
    columns = min(MAX_COLUMNS, math.ceil(math.sqrt(len(drawn))))
    rows = math.ceil(len(drawn) / columns)
    wide, tall = (2.5, 1.8) if columns > 2 else (5.0, 3.2)
    with open_picture(path, wide * columns, tall * rows + 0.6, dpi=110) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes, (name, found) in zip(grid, drawn, strict=False):
            _draw_expert(axes, name, found)
        for axes in grid[len(drawn) :]:
            axes.set_axis_off()
        handles = {
            label: line
            for axes in grid
            for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, frameon=False)
        left_out = (
            f" (the first {len(drawn)} of {say_count(len(progress), 'expert')})"
            if len(drawn) < len(progress)
            else ""
        )
        figure.supxlabel(f"optimiser steps{left_out}", fontsize="medium")
        figure.supylabel("loss per target token", fontsize="medium")


def smooth_curve(curve: Sequence[tuple[int, float]]) -> list[float]:
    """Average each loss with its neighbours, in a window of about a twentieth of the curve.

    Args:
        curve: ``(step, loss)`` in order.

    Returns:
        The smoothed losses, one for each; windows are shorter at both ends.
    """
    losses = [loss for _, loss in curve]
    reach = len(losses) // 40
    windows = [losses[max(0, i - reach) : i + reach + 1] for i in range(len(losses))]
    return [sum(window) / len(window) for window in windows]


def _draw_expert(axes: "Axes", name: str, found: UnitProgress) -> None:
    # Without parsing, since a dollar sign would start a formula.
    title = escape(name, keep="", longest=MAX_TITLE)
    axes.set_title(title, fontsize="small", loc="left", parse_math=False)
    axes.tick_params(labelsize="x-small", length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.6)
    marker = "." if len(found.train_curve) == 1 else None
    steps = [step for step, _ in found.train_curve]
    axes.plot(steps, smooth_curve(found.train_curve), color=TRAIN, marker=marker, label="training (smoothed)")
    if found.validation_curve:
        steps = [step for step, _ in found.validation_curve]
        losses = [loss for _, loss in found.validation_curve]
        axes.plot(
            steps, losses, color=VALIDATION, linewidth=1.2, marker=".", markersize=3, label="validation"
        )
    if found.best_step is not None and found.best_loss is not None:
        axes.plot(
            [found.best_step], [found.best_loss], "o", color=VALIDATION, markersize=5, label="weights kept"
        )
    axes.set_ylim(bottom=0)
