"""Test whether two libraries of the same tasks have the same clusters, by both ways to compare experts.

    python examples/compare_clusters.py runs/library/library runs/same/library

Prints the exact cosines of experts, the clusters' sizes and silhouettes, and the adjusted Rand
index (0 is chance, 1 the same clusters) of every two clusterings with the same number of clusters.
"""

import argparse
from itertools import combinations

import torch
from rich.console import Console
from sklearn.metrics import adjusted_rand_score

from lorary.library import Library
from lorary.transforms import cluster_experts, expert_similarity


def main() -> None:
    """Cluster both libraries in both ways, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("libraries", nargs=2, help="folders of two libraries with the same experts' names")
    parser.add_argument("--num-clusters", nargs="+", type=int, default=[5, 10])
    args = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    libraries = {url: Library.open(url) for url in args.libraries}
    names = sorted(libraries[args.libraries[0]])
    for url, library in libraries.items():
        similarity = expert_similarity(library, names)
        pairs = similarity[~torch.eye(len(names), dtype=torch.bool)]
        median, high = pairs.quantile(torch.tensor([0.5, 0.95], dtype=pairs.dtype)).tolist()
        console.print(f"{url}: cosines' median {median:.3f}, 95% {high:.3f}, largest {pairs.max():.3f}")
    for number in args.num_clusters:
        labels = {}
        for url, library in libraries.items():
            for method in ("cosine", "mbc"):
                found = cluster_experts(library, method, number, names=names)
                cluster_of = {name: index for index, own in enumerate(found.members) for name in own}
                labels[f"{url} by {method}"] = [cluster_of[name] for name in names]
                sizes = ", ".join(str(len(own)) for own in found.members)
                silhouette = found.silhouettes[number]
                console.print(f"{number} clusters, {url} by {method}: {sizes}; silhouette {silhouette:.4f}")
        for one, other in combinations(labels, 2):
            index = adjusted_rand_score(labels[one], labels[other])
            console.print(f"{number} clusters, {one} | {other}: Rand index {index:.2f}")


if __name__ == "__main__":
    main()
