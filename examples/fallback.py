"""Let one merged expert answer where calibrated routing trusts nobody: does that help with new tasks?

    python examples/fallback.py DATA runs/first-library seen unseen --num-test 2

Takes the library that examples/natural_instructions.py trained into that folder and the merges that
examples/merging.py made of it, at the lengths it chose. A request goes to the merged expert if calibrated
routing's trust in it is below a threshold, else to the experts that calibrated routing chooses. The threshold
is chosen on validation examples of the library's tasks and on tasks no expert saw that are not those of
`unseen`. Prints means and paired differences; writes fallback-SET.json and .md there.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from merge_methods import length
from rich.console import Console
from task_sets import configure, find_tasks, find_template_of, measure, show

import lorary
from lorary import Factors
from lorary.assembly import RoutedModel
from lorary.data import Task
from lorary.evaluation import Result, Route
from lorary.evaluation.chosen_examples import choose_examples
from lorary.library import Library
from lorary.routing import CalibratedConfig

CHOICE = ("validation", "other-unseen")
THRESHOLDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
Trusts = Mapping[str, tuple[float, ...]]
"""Task -> how far calibrated routing trusts its choice for each example."""


def main() -> None:
    """Choose a threshold, then evaluate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=("seen", "bare", "unseen"))
    parser.add_argument("--num-test", type=int, default=2, help="examples per task")
    parser.add_argument("--num-chosen-by", type=int, default=1, help="examples per task to choose by")
    parser.add_argument("--method", default="wudi", help="which merge")
    parser.add_argument("--rank", type=int, default=64, help="of the merge")
    args = parser.parse_args()
    experts = Library.open(str(args.out / "library"))
    merged = Library.open(str(args.out / f"merged-{args.rank}"))[args.method]
    chosen = json.loads((args.out / "merging-lengths.json").read_text())[args.method]
    mean = sum(map(length, experts.values())) / len(experts)
    controls = {
        "merged": scale(merged, chosen * mean / length(merged)),
        "multi-task": Library.open(str(args.out / "controls"))["multi-task"],
    }
    model = lorary.load_model("smollm2-135m", experts, router=None, controls=controls)
    found = {name: run(model, name, args.num_chosen_by, args) for name in CHOICE}
    losses = {
        threshold: sum(overall(switch(*found[name], threshold)) for name in CHOICE) / 2
        for threshold in THRESHOLDS
    }
    best = min(losses, key=losses.__getitem__)
    told = ", ".join(f"{threshold}: {loss:.3f}" for threshold, loss in losses.items())
    Console().print(f"threshold of trust {told}  ->  {best}")
    for name in args.sets:
        result = switch(*run(model, name, args.num_test, args), best)
        result.to_json(args.out / f"fallback-{name}.json")
        show(result, ("uniform", "multi-task", "calibrated"), args.out / f"fallback-{name}.md")


def scale(expert: lorary.Expert, weight: float) -> lorary.Expert:
    """Multiply an expert's weight changes with a number."""
    factors = {path: Factors(a, weight * b) for path, (a, b) in expert.factors.items()}
    return replace(expert, factors=factors)


def run(model: RoutedModel, name: str, num_examples: int, args: argparse.Namespace) -> tuple[Result, Trusts]:
    """Evaluate the merged expert, calibrated routing and the controls on one set, and note the trusts."""
    tasks = find_tasks(args.data, name)
    routes = [
        Route(name="merged", expert_of=dict.fromkeys(tasks, "merged")),
        Route(name="always sure", router="calibrated", options=CalibratedConfig(margin=None)),
    ]
    if name not in CHOICE:
        routes.append(Route(name="multi-task", expert_of=dict.fromkeys(tasks, "multi-task")))
        routes += [Route(name=key, router=key) for key in ("uniform", "calibrated")]
    result = measure(model, name, tasks, routes, num_examples)
    return result, find_trusts(model, name, tasks, num_examples)


def find_trusts(model: RoutedModel, name: str, tasks: Mapping[str, Task], num_examples: int) -> Trusts:
    """Ask calibrated routing how sure it is of each example: what it does not leave to all alike."""
    config = CalibratedConfig(spread=1.0)
    trusts = {}
    with model.routed("calibrated", config):
        for task_name, task in tasks.items():
            _, found = choose_examples(
                model.tokenizer, task_name, task, find_template_of(name), configure(name, num_examples)
            )
            weights = [
                model.decider.decide(torch.tensor([example.prompt_ids]))[1] for example in found.examples
            ]
            trusts[task_name] = tuple(float(1 - each.min() * each.shape[1]) for each in weights)
    return trusts


def switch(result: Result, trusts: Trusts, threshold: float) -> Result:
    """Add the route that leaves requests to the merged expert where trust is below a threshold."""
    scores = {}
    for task in result.tasks:
        columns = (result.values(task, route, "loss") for route in ("always sure", "merged"))
        scores[task, "switched", "loss"] = tuple(
            sure if trust >= threshold else merged
            for trust, sure, merged in zip(trusts[task], *columns, strict=True)
        )
    return result.merge(Result(scores, result.headers))


def overall(result: Result) -> float:
    """Average the switched route over tasks."""
    return result.overall("switched", "loss").mean


if __name__ == "__main__":
    main()
