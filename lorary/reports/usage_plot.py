"""A picture of the experts' shares on each task."""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lorary.files import quote
from lorary.files.picture import open_picture
from lorary.reports.tables import plot_label

MAX_LABEL = 28
MAX_TITLE = 60
# Maximum number of columns up to which numbers in cells are readable.
MAX_NUMBERED = 24


def plot_usage(
    path: str | os.PathLike[str], usage_by_task: Mapping[str, Mapping[str, float]], title: str | None = None
) -> None:
    """Draw a heat map, with tasks as rows and experts as columns.

    Args:
        path: the picture's path; beside a PNG, the same picture is written as SVG and PDF.
        usage_by_task: task -> expert -> share of the routing; missing experts have share 0.
        title: the picture's title, such as the router's name; None for no title.

    Raises:
        ValueError: if there is no task or no expert, or a share is not finite.
    """
    tasks = list(usage_by_task)
    experts = list(dict.fromkeys(name for usage in usage_by_task.values() for name in usage))
    shares = _share_matrix(usage_by_task, tasks, experts)  # [tasks, experts]
    with open_picture(path, 3.5 + 0.42 * len(experts), 2.2 + 0.36 * len(tasks), dpi=130) as figure:
        axes = figure.add_subplot()
        _draw_shares(axes, shares, tasks, experts)
        if title is not None:
            axes.set_title(plot_label(title, MAX_TITLE), size=10)


def _draw_shares(axes: Axes, shares: NDArray[np.float64], tasks: list[str], experts: list[str]) -> None:
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    axes.set_xticks(
        range(len(experts)), [plot_label(name, MAX_LABEL) for name in experts], rotation=60, ha="right"
    )
    axes.set_yticks(range(len(tasks)), [plot_label(name, MAX_LABEL) for name in tasks])
    axes.set_xlabel("expert")
    axes.set_ylabel("task")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.figure.colorbar(image, ax=axes, label="share of the routing, %", shrink=0.9)
    if len(experts) <= MAX_NUMBERED:
        _write_numbers(axes, shares)


def _write_numbers(axes: Axes, shares: NDArray[np.float64]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if round(100 * share) > 0:
            colour = "white" if share > 0.55 else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, size=8)


def _share_matrix(
    usage_by_task: Mapping[str, Mapping[str, float]], tasks: list[str], experts: list[str]
) -> NDArray[np.float64]:
    if not tasks or not experts:
        raise ValueError(
            f"a picture of usage needs a task and an expert, found {quote(tasks)} and {quote(experts)}"
        )
    shares = np.array([[usage_by_task[task].get(name, 0.0) for name in experts] for task in tasks])
    if not np.isfinite(shares).all():
        row, column = np.argwhere(~np.isfinite(shares))[0]
        found = float(shares[row, column])
        raise ValueError(
            f"the share of expert {quote(experts[column])} on task {quote(tasks[row])} must be finite, "
            f"found {found!r}"
        )
    return shares
