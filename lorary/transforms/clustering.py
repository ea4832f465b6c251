"""Clusters of similar experts, by k-means, and the choice of the number of clusters.

Shape letters: E experts, D coordinates of an expert.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lorary.experts import Expert
from lorary.files import quote
from lorary.transforms.similarity import expert_similarity
from lorary.transforms.sparse_similarity import sparse_similarity
from lorary.transforms.stacks import Progress, choose_names

Clustering = Literal["cosine", "mbc"]
Matrix = NDArray[np.float64]

NUM_STARTS = 50
MAX_CLUSTERS = 20
FEWEST_EXPERTS = 2
LEAST_OWN = 3e-3
"""Smallest norm of a unit vector minus the mean of all that is not treated as rounding error."""


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Clusters of experts, with the numbers from which they were made."""

    members: tuple[tuple[str, ...], ...]
    """Names of each cluster's experts, the largest cluster first."""
    names: tuple[str, ...]
    """All experts, in the order of the rows below."""
    similarity: Matrix
    """Cosines ``[E, E]`` of the experts."""
    points: Matrix
    """Coordinates ``[E, D]`` for k-means."""
    silhouettes: Mapping[int, float]
    """Number of clusters -> mean silhouette of all experts, for each number that was tried."""


def cluster_experts(
    experts: Mapping[str, Expert],
    method: Clustering = "cosine",
    num_clusters: int | None = None,
    *,
    names: Sequence[str] | None = None,
    max_clusters: int = MAX_CLUSTERS,
    seed: int = 0,
    sketch: int | None = None,
    on_progress: Progress | None = None,
) -> Clusters:
    """Cluster experts whose weight changes are similar.

    ``"cosine"`` uses the exact cosines of the weight changes (`expert_similarity`), centred: each expert's
    change is scaled to a unit vector, the mean of all experts is subtracted, and the rest is scaled to a unit
    vector again. ``"mbc"`` is the paper's method: cosines of the largest fifth of an expert's weights in 64
    dimensions (`sparse_similarity`); the coordinates are the rows of the similarity.

    Args:
        experts: a library or any other mapping.
        method: how experts are compared.
        num_clusters: number of clusters; None tries 2 to ``max_clusters`` and chooses the number with the
            largest mean silhouette (distance 1 - cosine; the smallest number if several are equal).
        names: the experts; None for those of ``list_routed``.
        max_clusters: the largest number of clusters to try; it is also limited to one less than the experts.
        seed: seed of the 50 starts of k-means, of which the best is used.
        sketch: for ``"cosine"``, as in `expert_similarity`; useful from 1,000 experts on; None is exact.
        on_progress: called with the number of steps done and of all steps while experts are read.

    Raises:
        ValueError: if there are fewer than two experts, an option is unknown or out of range, or there are
            fewer different experts than ``num_clusters``.
        UnknownExpert: if there is no expert of a name.
        IncompatibleExpert: if the experts are for different base models or have different layer shapes.
        FormatError: if an expert has NaN or infinite weights.

    Source: model-based clustering, arXiv:2405.11157.
    """
    if method not in get_args(Clustering):
        known = ", ".join(map(quote, get_args(Clustering)))
        raise ValueError(f"method must be one of {known}, found {quote(method)}")
    chosen = choose_names(experts, names, "clustering")
    if len(chosen) < FEWEST_EXPERTS:
        raise ValueError(f"clusters need at least {FEWEST_EXPERTS} experts, found {len(chosen)}")
    candidates = _list_candidates(len(chosen), num_clusters, max_clusters)
    if method == "mbc" and sketch is not None:
        raise ValueError("sketch is for method='cosine' only: leave it out")
    similarity, points = (
        _compare_changes(experts, chosen, sketch, on_progress)
        if method == "cosine"
        else _compare_as_mbc(experts, chosen, on_progress)
    )
    # Equal experts have equal coordinates up to rounding; k-means cannot separate them.
    num_different = len(np.unique(points.round(5), axis=0))
    if num_clusters is not None and num_clusters > num_different:
        raise ValueError(
            f"num_clusters must be at most the number of different experts, {num_different} of "
            f"{len(chosen)}, found {num_clusters}"
        )
    labels = {k: _run_k_means(points, k, seed) for k in candidates if k <= num_different}
    silhouettes = {k: _silhouette(similarity, found) for k, found in labels.items() if 1 < k < len(chosen)}
    best = num_clusters or (max(silhouettes, key=silhouettes.__getitem__) if silhouettes else 1)
    return Clusters(
        members=_group(chosen, labels[best] if best in labels else [0] * len(chosen)),
        names=tuple(chosen),
        similarity=similarity,
        points=points,
        silhouettes=silhouettes,
    )


def center_similarity(similarity: Matrix) -> tuple[Matrix, Matrix]:
    """Subtract the mean vector from unit vectors that are given by their cosines.

    Args:
        similarity: cosines of unit vectors, ``[E, E]``.

    Returns:
        Cosines ``[E, E]`` of the centred vectors, and points ``[E, E]`` that have these cosines. An expert
        that equals the mean has cosine 0 to all others and is at the origin.
    """
    # Double centring: the Gram matrix of the vectors minus their mean, as in classical scaling.
    rows = similarity - similarity.mean(0)
    centered = rows - rows.mean(1, keepdims=True)
    norms = np.sqrt(centered.diagonal().clip(0))
    scale = np.divide(1, norms, out=np.zeros_like(norms), where=norms > LEAST_OWN)
    cosines = scale[:, None] * centered * scale
    eigenvalues, eigenvectors = np.linalg.eigh((cosines + cosines.T) / 2)
    points = eigenvectors * np.sqrt(eigenvalues.clip(0))
    np.fill_diagonal(cosines, 1.0)
    return cosines.clip(-1, 1), points[:, ::-1]


def _compare_changes(
    experts: Mapping[str, Expert], names: Sequence[str], sketch: int | None, on_progress: Progress | None
) -> tuple[Matrix, Matrix]:
    return center_similarity(_as_matrix(expert_similarity(experts, names, on_progress, sketch=sketch)))


def _compare_as_mbc(
    experts: Mapping[str, Expert], names: Sequence[str], on_progress: Progress | None
) -> tuple[Matrix, Matrix]:
    similarity = _as_matrix(sparse_similarity(experts, names, on_progress=on_progress))
    return similarity, similarity


def _as_matrix(similarity: Tensor) -> Matrix:
    return similarity.double().numpy()


def _list_candidates(num_experts: int, num_clusters: int | None, max_clusters: int) -> Sequence[int]:
    if num_clusters is None:
        if max_clusters < 2:
            raise ValueError(f"max_clusters must be at least 2, found {quote(max_clusters)}")
        return range(2, min(max_clusters, num_experts - 1) + 1)
    if not 1 <= num_clusters <= num_experts:
        raise ValueError(
            f"num_clusters must be between 1 and the number of experts, {num_experts}, found "
            f"{quote(num_clusters)}"
        )
    return [num_clusters]


def _run_k_means(points: Matrix, num_clusters: int, seed: int) -> Sequence[int]:
    # Imported here because the import is slow and only clustering needs it.
    from sklearn.cluster import KMeans

    labels: list[int] = (
        KMeans(num_clusters, n_init=NUM_STARTS, random_state=seed).fit_predict(points).tolist()
    )
    return labels


def _silhouette(similarity: Matrix, labels: Sequence[int]) -> float:
    from sklearn.metrics import silhouette_score

    distance = (1 - similarity).clip(0)
    np.fill_diagonal(distance, 0)
    return float(silhouette_score(distance, labels, metric="precomputed"))


def _group(names: Sequence[str], labels: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    groups: dict[int, list[str]] = defaultdict(list)
    for name, label in zip(names, labels, strict=True):
        groups[label].append(name)
    # The sort is stable: clusters of equal size stay in the order of their first experts.
    return tuple(tuple(group) for group in sorted(groups.values(), key=len, reverse=True))
