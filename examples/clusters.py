"""Cluster experts, train one expert per cluster, and route among these: model-based clustering on real tasks.

    python examples/clusters.py DATA runs/first-library --num-clusters 10

Takes the library and the multi-task expert that examples/natural_instructions.py trained into that folder.
All cluster experts together see as many tokens as the multi-task expert did. Evaluates them by Arrow, uniform
and calibrated routing, and by each task's own cluster, beside base and multi-task; writes clusters-K-SET.json
and .md there.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from natural_instructions import read_tasks, train
from rich.console import Console
from task_sets import find_tasks, measure, show

import lorary
from lorary.data import Task, mix_tasks
from lorary.evaluation import Route
from lorary.library import Library
from lorary.reports.cluster_plot import plot_clusters
from lorary.training import TrainConfig
from lorary.transforms import cluster_experts


def main() -> None:
    """Cluster, train, evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-clusters", type=int, default=10)
    parser.add_argument("--method", choices=("cosine", "mbc"), default="cosine")
    parser.add_argument("--tokens", type=int, default=240_000, help="for all cluster experts together")
    parser.add_argument("--sets", nargs="+", choices=("seen", "bare", "unseen"), default=["seen", "unseen"])
    parser.add_argument("--num-test", type=int, default=6, help="examples per task")
    args = parser.parse_args()
    stem = f"clusters-{args.num_clusters}" + ("" if args.method == "cosine" else f"-{args.method}")
    tasks = read_tasks(args.data)
    found = cluster_experts(Library.open(str(args.out / "library")), args.method, args.num_clusters)
    plot_clusters(args.out / f"{stem}.png", found.names, found.similarity, found.members)
    members = {f"cluster_{number}": names for number, names in enumerate(found.members, 1)}
    for name, own in members.items():
        Console().print(f"{name}: {', '.join(own)}", soft_wrap=True)
    pools = {name: mix_tasks({task: tasks[task] for task in own}, name) for name, own in members.items()}
    config = TrainConfig(
        max_tokens=args.tokens // args.num_clusters, batch_size=4, tokens_per_pass=4096, validate_every=100
    )
    clusters = train(lorary.load_base(), pools, config, args.out / stem)
    multi_task = Library.open(str(args.out / "controls"))["multi-task"]
    model = lorary.load_model("smollm2-135m", clusters, router=None, controls={"multi-task": multi_task})
    cluster_of = {task: name for name, own in members.items() for task in own}
    for name in args.sets:
        tasks = find_tasks(args.data, name)
        result = measure(model, name, tasks, make_routes(tasks, cluster_of), args.num_test)
        result.to_json(args.out / f"{stem}-{name}.json")
        show(result, ("uniform", "multi-task"), args.out / f"{stem}-{name}.md")


def make_routes(tasks: Mapping[str, Task], cluster_of: Mapping[str, str]) -> list[Route]:
    """List controls, routers and, where every task has a cluster, each task's own."""
    routes = [
        Route(name="base"),
        Route(name="multi-task", expert_of=dict.fromkeys(tasks, "multi-task")),
        *(Route(name=router, router=router) for router in ("uniform", "arrow", "calibrated")),
    ]
    if set(tasks) <= set(cluster_of):
        routes.append(Route(name="own cluster", expert_of={task: cluster_of[task] for task in tasks}))
    return routes


if __name__ == "__main__":
    main()
