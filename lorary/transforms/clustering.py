"""Which experts belong together: k-means on how alike they are, and how many groups there are.

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
from lorary.files import quote, say_count
from lorary.transforms.similarity import expert_similarity
from lorary.transforms.sparse_similarity import sparse_similarity
from lorary.transforms.stacks import Progress, choose_names

Clustering = Literal["cosine", "mbc"]
Matrix = NDArray[np.float64]

NUM_STARTS = 50
MAX_CLUSTERS = 20
FEWEST_EXPERTS = 2
LEAST_OWN = 3e-3
"""Length of what is an expert's own, of a unit vector, from which on it is more than rounding."""


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Experts in groups."""

    members: tuple[tuple[str, ...], ...]
    """Names of each cluster's experts, the largest cluster first."""
    names: tuple[str, ...]
    """All experts, in the order of the rows below."""
    similarity: Matrix
    """Cosines ``[E, E]`` by which they were put together."""
    points: Matrix
    """Coordinates ``[E, D]`` on which k-means ran."""
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
    """Put experts into groups that change their base model alike.

    ``"cosine"`` takes the exact cosines of whole weight changes, `expert_similarity`, less what all experts
    have in common: each change ``D``, as a unit vector, has the mean of all taken away and is made a unit
    vector again. ``"mbc"`` is the paper's recipe: cosines of the largest fifth of an expert's numbers in 64
    dimensions, `sparse_similarity`, whose rows are the coordinates.

    Args:
        experts: a library or any other mapping.
        method: what experts are compared by.
        num_clusters: how many groups; None tries 2 to ``max_clusters`` and takes the number with the greatest
            mean silhouette (of 1 - cosine; of equal ones the smallest number).
        names: the experts; None for all.
        max_clusters: most clusters to try; there are always fewer than experts.
        seed: of the k-means starts, the best of 50.
        sketch: for ``"cosine"``, see `expert_similarity`: for a thousand experts and more; None is exact.
        on_progress: called with the number of steps done and of all, while experts are read.

    Raises:
        ValueError: if there are fewer than two experts, an option is unknown or out of range, or there are
            not as many different experts as clusters are asked for.
        UnknownExpert: if a name is not among the experts.
        IncompatibleExpert: if the experts are for different base models or layer shapes.
        FormatError: if an expert's weights are not finite.

    Source: model-based clustering, arXiv:2405.11157.
    """
    if method not in get_args(Clustering):
        known = ", ".join(map(quote, get_args(Clustering)))
        raise ValueError(f"method must be one of {known}, found {quote(method)}")
    chosen = choose_names(experts, names)
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
    num_different = len(np.unique(points.round(5), axis=0))
    if num_clusters is not None and num_clusters > num_different:
        raise ValueError(
            f"num_clusters is {num_clusters}, but only {num_different} of "
            f"{say_count(len(chosen), 'expert')} differ"
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
    """Take what all experts have in common out of their cosines.

    Args:
        similarity: of unit vectors, ``[E, E]``.

    Returns:
        Cosines ``[E, E]`` of the vectors less their mean, and points ``[E, E]`` that have these cosines. An
        expert that is the mean itself has cosine 0 to all others, and lies at the origin.
    """
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
    # Imported here: slow, and needed for clusters only.
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
    # Sorting is stable: equally large clusters stay in the order of their first experts.
    return tuple(tuple(group) for group in sorted(groups.values(), key=len, reverse=True))
