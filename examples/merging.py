"""Merge all experts of a library into one by every method, and compare the results.

    python examples/merging.py DATA runs/first-library choose
    python examples/merging.py DATA runs/first-library seen unseen --num-test 6

Takes the library and the multi-task expert that examples/natural_instructions.py trained into that folder.
Every merge is kept in OUT/merged-RANK. The norm of a merged expert, as a share of the mean norm of the
experts, is chosen per method by `choose`: on validation examples of the library's tasks, and on tasks that no
expert saw, other than those of `unseen`; merges of these norms are kept in OUT/merges. Prints means and
paired differences to uniform and multi-task; writes merging-SET.json and .md there.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from merge_methods import METHODS, length, merge_all, scale
from rich.console import Console
from task_sets import find_tasks, measure, show

import lorary
from lorary.assembly import RoutedModel
from lorary.evaluation import Result, Route
from lorary.library import Library
from lorary.routing import FixedConfig

LENGTHS = (0.2, 0.4, 0.7, 1.0, 1.4)
CHOICE = ("validation", "other-unseen")


def main() -> None:
    """Merge, then choose norms or evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=("choose", "seen", "bare", "unseen"))
    parser.add_argument("--num-test", type=int, default=6, help="examples per task")
    parser.add_argument(
        "--num-chosen-by", type=int, default=1, help="examples per task for the choice of norms"
    )
    parser.add_argument("--rank", type=int, default=64, help="of the merged experts")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--lengths", nargs="+", type=float, default=LENGTHS, help="to choose from")
    args = parser.parse_args()
    experts = Library.open(str(args.out / "library"))
    merged = merge_all(experts, args.methods, args.rank, args.data, args.out)
    mean = sum(length(expert) for expert in experts.values()) / len(experts)
    units = {name: mean / length(expert) for name, expert in merged.items()}
    controls = {"multi-task": Library.open(str(args.out / "controls"))["multi-task"]}
    # Merged experts have their own model, because their rank differs from that of their parents.
    model = lorary.load_model("smollm2-135m", merged, router=None, controls=controls)
    for name in args.sets:
        if name == "choose":
            chosen = choose_lengths(model, units, args)
            kept = {name: scale(merged[name], size * units[name]) for name, size in chosen.items()}
            Library.open(str(args.out / "merges"), create=True).add_all(kept, replace=True)
        else:
            chosen = json.loads((args.out / "merging-lengths.json").read_text())
            routes = [scaled(method, method, chosen[method] * unit) for method, unit in units.items()]
            result = run(model, name, routes, args.num_test, args)
            result = result.merge(run_unmerged(experts, name, args))
            result.to_json(args.out / f"merging-{name}.json")
            show(result, ("uniform", "multi-task"), args.out / f"merging-{name}.md")


def scaled(name: str, method: str, weight: float) -> Route:
    """Chooses one merged expert for every token, with a number as weight."""
    return Route(name=name, router="fixed", options=FixedConfig(weights={method: weight}))


def choose_lengths(
    model: RoutedModel, units: Mapping[str, float], args: argparse.Namespace
) -> dict[str, float]:
    """Find each method's best norm, by the mean loss on both sets for choices; print and return it."""
    names = {f"{method} {size}": (method, size) for method in units for size in args.lengths}
    routes = [scaled(name, method, size * units[method]) for name, (method, size) in names.items()]
    results = [
        measure(model, name, find_tasks(args.data, name), routes, args.num_chosen_by) for name in CHOICE
    ]
    losses = {name: sum(overall(result, name) for result in results) / 2 for name in names}
    chosen = {}
    for method in units:
        chosen[method] = min(args.lengths, key=lambda size: losses[f"{method} {size}"])
        found = ", ".join(f"{size}: {losses[f'{method} {size}']:.3f}" for size in args.lengths)
        Console().print(f"{method:<12} {found}  ->  {chosen[method]}")
    (args.out / "merging-lengths.json").write_text(json.dumps(chosen, indent=2) + "\n")
    return chosen


def overall(result: Result, route: str) -> float:
    """Average a route's loss over tasks."""
    return sum(result.mean(task, route, "loss") for task in result.tasks) / len(result.tasks)


def run(
    model: RoutedModel, name: str, routes: list[Route], num_examples: int, args: argparse.Namespace
) -> Result:
    """Evaluate merged experts, and the controls on their model, on one set of tasks."""
    tasks = find_tasks(args.data, name)
    controls = [Route(name="base"), Route(name="multi-task", expert_of=dict.fromkeys(tasks, "multi-task"))]
    return measure(model, name, tasks, [*controls, *routes], num_examples)


def run_unmerged(experts: Library, name: str, args: argparse.Namespace) -> Result:
    """Evaluate the experts side by side: all equally, and if every task has one, its own."""
    tasks = find_tasks(args.data, name)
    model = lorary.load_model("smollm2-135m", experts, router=None)
    routes = [Route(name="uniform", router="uniform")]
    if set(tasks) <= set(model.names):
        routes.append(Route(name="oracle", expert_of={task: task for task in tasks}))
    return measure(model, name, tasks, routes, args.num_test)


if __name__ == "__main__":
    main()
