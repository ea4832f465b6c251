"""Compute the clusters of a library, and write them as YAML and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from jsonargparse import Namespace

from lorary.cli.bars import show_count
from lorary.cli.console import print_next, print_table
from lorary.cli.filled_library import group_by_base, open_routed_library
from lorary.cli.out_place import check_out
from lorary.cli.printing import print_json, print_line
from lorary.cli.repeat import repeat_training
from lorary.cli.trusted_base import choose_experts
from lorary.experts.parts.leaving_out import keep_low_rank
from lorary.files import quote, say_count, write_whole
from lorary.library.view import LibraryView
from lorary.reports.cluster_plot import plot_clusters
from lorary.transforms import cluster_experts
from lorary.transforms.clustering import Clusters

COLUMNS = ("cluster", "experts", "inside", "outside", "tasks")
# Below this mean silhouette, clusters are hardly separated.
FAINT = 0.05


def run(options: Namespace) -> int:
    """Check the options, compute the clusters, write and print them."""
    picture = options.out.with_suffix(".png") if options.out.name else options.out
    if picture == options.out:
        raise ValueError(f"--out must be a YAML file such as clusters.yaml, found {quote(str(options.out))}")
    for place in (options.out, picture):
        check_out(place, options.library, is_file=True)
    library = open_routed_library(options)
    named = [name for group in group_by_base(library, options.base).values() for name in group]
    names = keep_low_rank(library, named, "clustering")
    with show_count(f"comparing {say_count(len(names), 'expert')}") as show:
        found = cluster_experts(
            choose_experts(options, library.library, names),
            options.method,
            options.num_clusters,
            names=names,
            max_clusters=options.max_clusters,
            seed=options.seed,
            sketch=options.sketch,
            on_progress=show,
        )
    groups = group_tasks(library, found)
    write_groups(options.out, groups, options.library)
    plot_clusters(picture, found.names, found.similarity, found.members)
    if options.json:
        print_json(describe_clusters(found, groups))
        return 0
    print_table(COLUMNS, tabulate_clusters(found, groups), COLUMNS[1:4])
    print_silhouettes(found)
    print_line(f"tasks: {options.out}  picture: {picture}")
    entries = [entry for entry in library.entries() if entry.name in found.names]
    words = ["--tasks", "TASKS", "--config", str(options.out), *repeat_training(entries)]
    print_next("lorary", "train", "CLUSTER_LIBRARY", *words)
    return 0


def group_tasks(library: LibraryView, found: Clusters) -> dict[str, list[str]]:
    """List the tasks of each cluster, without repetitions; an expert without tasks counts as its own task."""
    own = {entry.name: entry.own_tasks for entry in library.entries()}
    return {
        f"cluster_{number}": list(dict.fromkeys(task for name in members for task in own[name]))
        for number, members in enumerate(found.members, 1)
    }


def write_groups(path: Path, groups: Mapping[str, Sequence[str]], library: str) -> None:
    """Write the groups as a file for ``lorary train --config``."""
    what = f"Clusters of the experts in {quote(library)}"
    head = f"# {what}, for: lorary train LIBRARY --tasks TASKS --config THIS\n"
    body = yaml.safe_dump({"groups": dict(groups)}, sort_keys=False, allow_unicode=True)
    write_whole(path, (head + body).encode())


def describe_clusters(found: Clusters, groups: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Describe all clusters in JSON values."""
    clusters = []
    for (name, tasks), members in zip(groups.items(), found.members, strict=True):
        inside, outside = mean_cosines(found, members)
        means = {"inside": inside, "outside": outside}
        clusters.append({"name": name, "experts": list(members), "tasks": list(tasks), "mean_cosines": means})
    return {"clusters": clusters, "silhouettes": dict(found.silhouettes)}


def tabulate_clusters(
    found: Clusters, groups: Mapping[str, Sequence[str]]
) -> list[tuple[str, str, str, str, str]]:
    """Describe each cluster, a text per column."""
    rows = []
    for (name, tasks), members in zip(groups.items(), found.members, strict=True):
        inside, outside = ("" if mean is None else f"{mean:.4f}" for mean in mean_cosines(found, members))
        rows.append((name, str(len(members)), inside, outside, ", ".join(tasks)))
    return rows


def mean_cosines(found: Clusters, members: Sequence[str]) -> tuple[float | None, float | None]:
    """Average the cosines within a cluster, and between it and other experts; None without such pairs."""
    own = [name in members for name in found.names]
    others = [not is_own for is_own in own]
    block = found.similarity[own][:, own]
    num_pairs = len(block) * (len(block) - 1)
    inside = float((block.sum() - block.trace()) / num_pairs) if num_pairs else None
    return inside, float(found.similarity[own][:, others].mean()) if any(others) else None


def print_silhouettes(found: Clusters) -> None:
    """Print the mean silhouette of each number of clusters."""
    if not found.silhouettes:
        return
    shown = ", ".join(f"{count}: {value:.4f}" for count, value in found.silhouettes.items())
    best = max(found.silhouettes.values())
    print_line(
        f"mean silhouette by number of clusters (1 is best): {shown}"
        + ("; the clusters are hardly separated: choose --num-clusters yourself" if best < FAINT else "")
    )
