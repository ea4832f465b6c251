"""A picture of clusters: a heat map of the experts' similarities, and a map of the experts."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from lorary.files.picture import open_picture
from lorary.reports.palette import expert_shades
from lorary.reports.similarity_scale import choose_scale
from lorary.reports.tables import plot_label

Matrix = NDArray[np.float64]

MAX_LABEL = 26
MAX_LABELLED = 80
FEWEST_MAPPED = 4


def plot_clusters(
    path: str | os.PathLike[str], names: Sequence[str], similarity: Matrix, members: Sequence[Sequence[str]]
) -> None:
    """Draw a heat map of similarities, ordered by cluster, and a map on which similar experts are close.

    The map is made by t-SNE of 1 - cosine with a fixed start. Only small distances on it are meaningful.

    Args:
        path: the picture's path; beside a PNG, the same picture is written as SVG and PDF.
        names: names of the experts, at least two.
        similarity: their cosines ``[E, E]``.
        members: the names in each cluster.

    Raises:
        ValueError: if the clusters do not contain each expert once.
    """
    order = [names.index(name) for group in members for name in group]
    if sorted(order) != list(range(len(names))):
        raise ValueError("clusters must contain each expert once, found missing or repeated ones")
    colours = [shades.light_line for shades in expert_shades([f"cluster {n}" for n in range(len(members))])]
    size = min(5 + 0.1 * len(names), 14)
    with open_picture(path, 2.1 * size, size, dpi=110) as figure:
        left, right = figure.subplots(1, 2)
        ordered = [names[index] for index in order]
        _draw_heat(left, ordered, similarity[np.ix_(order, order)], members, colours)
        _draw_map(right, names, similarity, members, colours)


def map_experts(similarity: Matrix) -> Matrix:
    """Compute places of experts on a plane, with similar experts close to each other.

    Args:
        similarity: cosines ``[E, E]``.

    Returns:
        Coordinates ``[E, 2]``; for fewer than four experts, places on a circle.
    """
    count = len(similarity)
    if count < FEWEST_MAPPED:
        angles = 2 * np.pi * np.arange(count) / count
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distance = (1 - similarity).clip(0)
    np.fill_diagonal(distance, 0)
    perplexity = min(10, (count - 1) / 3)
    mapper = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=0)
    found: Matrix = mapper.fit_transform(distance).astype(np.float64)
    return found


def _draw_heat(
    axes: Axes,
    names: Sequence[str],
    similarity: Matrix,
    members: Sequence[Sequence[str]],
    colours: list[str],
) -> None:
    # The diagonal is left out, so that the most similar pair has the full colour.
    shown = np.where(np.eye(len(names), dtype=bool), np.nan, similarity)
    scale = choose_scale(similarity)
    image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=scale)
    note = "cosine" if scale == 1 else f"cosine (colours end at {scale:g}, equal experts have 1)"
    has_negative = bool(np.nanmin(shown, initial=0.0) < 0)
    axes.figure.colorbar(image, ax=axes, shrink=0.6, label=note, extend="min" if has_negative else "neither")
    axes.set_title("similarity of experts, ordered by cluster", loc="left")
    axes.tick_params(length=0, labelsize="x-small")
    axes.spines[:].set_visible(False)
    ticks = range(len(names)) if len(names) <= MAX_LABELLED else ()
    axes.set_yticks(ticks, [plot_label(names[index], MAX_LABEL) for index in ticks])
    axes.set_xticks([])
    begin = 0
    for group, colour in zip(members, colours, strict=True):
        corner = (begin - 0.5, begin - 0.5)
        axes.add_patch(Rectangle(corner, len(group), len(group), fill=False, edgecolor=colour, linewidth=2))
        for label in axes.get_yticklabels()[begin : begin + len(group)]:
            label.set_color(colour)
        begin += len(group)


def _draw_map(
    axes: Axes,
    names: Sequence[str],
    similarity: Matrix,
    members: Sequence[Sequence[str]],
    colours: list[str],
) -> None:
    places = map_experts(similarity)
    for number, (group, colour) in enumerate(zip(members, colours, strict=True), 1):
        found = places[[names.index(name) for name in group]]
        axes.scatter(found[:, 0], found[:, 1], color=colour, s=40, label=f"cluster {number}")
        if len(names) <= MAX_LABELLED:
            for name, place in zip(group, found, strict=True):
                axes.annotate(
                    plot_label(name, MAX_LABEL),
                    place,
                    xytext=(5, 3),
                    textcoords="offset points",
                    fontsize="x-small",
                )
    axes.set_title("map: only small distances are meaningful", loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(x=0.18)
    axes.spines[:].set_color("#d1d5db")
