"""A tree of similar experts: its joints, the order of its leaves, and its picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram, leaves_list, linkage
from scipy.spatial.distance import squareform

from lorary.files import escape, escape_html

TREE, ROW, MARGIN = 360, 19, 12
MAX_LABEL = 34
# Pixels of a letter, and of a character of wide scripts.
LETTER, WIDE = 7.5, 13.0


def link_experts(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the tree of average linkage: the most similar experts are joined first.

    Args:
        similarity: cosines ``[E, E]``, symmetric; at least two experts.

    Returns:
        The joints ``[E - 1, 4]`` in SciPy's format: two groups, their distance 1 - cosine, and the number of
        experts in the new group.
    """
    # Rounding may give cosines slightly above 1.
    distance = np.clip(1 - (similarity + similarity.T) / 2, 0, 2)
    np.fill_diagonal(distance, 0)
    return linkage(squareform(distance, checks=False), "average", optimal_ordering=True)


def order_leaves(links: NDArray[np.float64]) -> list[int]:
    """Return the experts in the order of the tree's leaves."""
    return [int(leaf) for leaf in leaves_list(links)]


def draw_dendrogram(links: NDArray[np.float64], names: Sequence[str]) -> str:
    """Draw the tree as SVG, with names on the left side, where small screens show them.

    Args:
        links: the joints, from ``link_experts``; each is drawn at its cosine.
        names: names of the experts, in the order of the similarity's rows.
    """
    tree = dendrogram(links, no_plot=True)
    shown = [escape(name, longest=MAX_LABEL) for name in names]
    left = MARGIN + max(map(_measure, [*shown, "cosine"]))
    low, high = float(links[:, 2].min()), float(links[:, 2].max())
    # The axis begins slightly before the first joint, so that it does not touch the leaves.
    start = low - 0.15 * max(high - low, 1e-3)

    def x(distance: float) -> float:
        return left + TREE * (max(distance, start) - start) / (high - start)

    def y(place: float) -> float:
        return ROW * (place / 10) + MARGIN  # SciPy's leaves are at 5, 15, 25, …

    lines = "".join(
        '<polyline points="'
        + " ".join(f"{x(height):.1f},{y(place):.1f}" for place, height in zip(places, heights, strict=True))
        + '"/>'
        for places, heights in zip(tree["icoord"], tree["dcoord"], strict=True)
    )
    labels = "".join(
        f'<text x="{left - 8:.0f}" y="{y(10 * place + 5) + 4:.1f}" text-anchor="end">'
        f"{escape_html(shown[leaf])}"
        f"<title>{escape_html(names[leaf])}</title></text>"
        for place, leaf in enumerate(tree["leaves"])
    )
    bottom = ROW * len(names) + 2 * MARGIN
    digits = 2 if high - low > 0.1 else 3
    axis = f'<text class="tick" x="{left - 8:.0f}" y="{bottom + 12}" text-anchor="end">cosine</text>'
    axis += "".join(
        f'<text class="tick" x="{x(distance):.1f}" y="{bottom + 12}" text-anchor="middle">'
        f"{1 - distance:.{digits}f}</text>"
        for distance in np.linspace(low, high, 4 if high > low else 1)
    )
    width, height = round(left) + TREE + 2 * MARGIN, bottom + 20
    return (
        '<figure class="card scroll tree" tabindex="0">'
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Tree of similar experts">{lines}{labels}{axis}</svg></figure>'
    )


def _measure(label: str) -> float:
    """Estimate the width of a label in pixels."""
    return sum(LETTER if ord(letter) < 0x1100 else WIDE for letter in label)
