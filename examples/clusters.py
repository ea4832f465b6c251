"""Cluster experts, train one per cluster, and route among these: model-based clustering on real tasks.

    python examples/clusters.py DATA runs/first-library --num-clusters 10
    python examples/clusters.py DATA runs/library --merge wudi

Takes the library and the multi-task expert that examples/natural_instructions.py or
examples/equal_tokens.py trained into that folder. All cluster experts together see ``--tokens``, so that a
LoRA of all tasks with as many is their rival. With ``--merge`` each cluster's experts are merged instead,
which needs no data and no training. Evaluates them by Arrow, uniform and calibrated routing, and by each
task's own cluster ("clusters: …"), together with base and multi-task; writes routing-SET.clusters-K.json and
.md there.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from merge_methods import length, scale
from natural_instructions import read_tasks, train
from rich.console import Console
from task_sets import find_tasks, measure, show

import lorary
from lorary import Expert
from lorary.data import Task, mix_tasks
from lorary.evaluation import Route
from lorary.library import Library
from lorary.reports.cluster_plot import plot_clusters
from lorary.training import TrainConfig
from lorary.transforms import cluster_experts

CONTROLS = ("base", "multi-task")


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
    parser.add_argument("--merge", help="the method, if experts are merged and not trained")
    parser.add_argument("--rank", type=int, default=32, help="of merged experts")
    parser.add_argument("--controls", nargs="*", choices=CONTROLS, default=list(CONTROLS))
    parser.add_argument("--sets", nargs="+", choices=("seen", "bare", "unseen"), default=["seen", "unseen"])
    parser.add_argument("--num-test", type=int, default=6, help="examples per task")
    args = parser.parse_args()
    kind = "".join(f"-{each}" for each in (args.method, args.merge) if each not in ("cosine", None))
    stem = f"clusters-{args.num_clusters}{kind}"
    found = cluster_experts(Library.open(str(args.out / "library")), args.method, args.num_clusters)
    plot_clusters(args.out / f"{stem}.png", found.names, found.similarity, found.members)
    members = {f"cluster_{number}": names for number, names in enumerate(found.members, 1)}
    for name, own in members.items():
        Console().print(f"{name}: {', '.join(own)}", soft_wrap=True)
    clusters = (
        train_clusters(members, args, args.out / stem)
        if args.merge is None
        else merge_clusters(members, args)
    )
    controls = {
        name: Library.open(str(args.out / "controls"))[name] for name in args.controls if name != "base"
    }
    model = lorary.load_model("smollm2-135m", clusters, router=None, controls=controls)
    cluster_of = {task: name for name, own in members.items() for task in own}
    for name in args.sets:
        tasks = find_tasks(args.data, name)
        result = measure(model, name, tasks, make_routes(tasks, cluster_of, args.controls), args.num_test)
        result.to_json(args.out / f"routing-{name}.{stem}.json")
        rivals = ["clusters: uniform", *(control for control in args.controls if control != "base")]
        show(result, rivals, args.out / f"routing-{name}.{stem}.md")


def train_clusters(members: Mapping[str, Sequence[str]], args: argparse.Namespace, place: Path) -> Library:
    """Train an expert on the tasks of each cluster."""
    tasks = read_tasks(args.data)
    pools = {name: mix_tasks({task: tasks[task] for task in own}, name) for name, own in members.items()}
    config = TrainConfig(max_tokens=args.tokens // args.num_clusters, batch_size=4, tokens_per_pass=2048)
    return train(lorary.load_base(), pools, config, place)


def merge_clusters(members: Mapping[str, Sequence[str]], args: argparse.Namespace) -> dict[str, Expert]:
    """Merge the experts of each cluster, scaled to the mean norm of its experts."""
    experts = Library.open(str(args.out / "library"))
    merged = {}
    for name, own in members.items():
        expert = lorary.merge(experts, args.merge, names=own, rank=args.rank, name=name)
        merged[name] = scale(expert, mean(length(experts[each]) for each in own) / length(expert))
    return merged


def make_routes(
    tasks: Mapping[str, Task], cluster_of: Mapping[str, str], controls: Sequence[str]
) -> list[Route]:
    """List controls, routers and, where every task has a cluster, each task's own."""
    routes = [Route(name="base")] if "base" in controls else []
    if "multi-task" in controls:
        routes.append(Route(name="multi-task", expert_of=dict.fromkeys(tasks, "multi-task")))
    routes += [
        Route(name=f"clusters: {router}", router=router) for router in ("uniform", "arrow", "calibrated")
    ]
    if set(tasks) <= set(cluster_of):
        own = {task: cluster_of[task] for task in tasks}
        routes.append(Route(name="clusters: own cluster", expert_of=own))
    return routes


if __name__ == "__main__":
    main()
