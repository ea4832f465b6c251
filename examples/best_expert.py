"""How good could a choice of one expert per task be if no expert was trained on the task?

    python examples/best_expert.py DATA runs/first-library unseen --num-test 4

Takes the library that examples/natural_instructions.py trained into that folder. Runs every expert alone on
every task, and prints the mean loss of the expert that is best on each example's task by the task's other
examples (the gain from a few labelled examples), of the best by all examples (a bound that
needs the answers), of the mean expert, of base and of uniform. Writes best-expert-SET.json.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from task_sets import SETS, find_tasks, measure

import lorary
from lorary.evaluation import Result, Route
from lorary.library import Library


def main() -> None:
    """Run every expert on every task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=SETS)
    parser.add_argument("--num-test", type=int, default=4, help="examples per task, at least 2")
    args = parser.parse_args()
    model = lorary.load_model("smollm2-135m", Library.open(str(args.out / "library")), router=None)
    for name in args.sets:
        tasks = find_tasks(args.data, name)
        routes = [Route(name="base"), Route(name="uniform", router="uniform")]
        routes += [Route(name=expert, expert_of=dict.fromkeys(tasks, expert)) for expert in model.names]
        result = measure(model, name, tasks, routes, args.num_test)
        result.to_json(args.out / f"best-expert-{name}.json")
        for what, losses in summarize(result, model.names).items():
            error = np.sqrt(sum(row.var(ddof=1) / len(row) for row in losses)) / len(losses)
            Console().print(f"{name}: {what:<34} {np.mean([row.mean() for row in losses]):.3f} ±{error:.3f}")


def summarize(result: Result, names: tuple[str, ...]) -> dict[str, list[NDArray[np.float64]]]:
    """Return the losses of each way to choose, an array of examples per task."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for task in result.tasks:
        alone = np.array([result.values(task, name, "loss") for name in names])  # [experts, examples]
        others = (alone.sum(1, keepdims=True) - alone) / (alone.shape[1] - 1)
        columns = np.arange(alone.shape[1])
        for what, losses in {
            "base": np.array(result.values(task, "base", "loss")),
            "uniform": np.array(result.values(task, "uniform", "loss")),
            "mean of all experts": alone.mean(0),
            "best expert by the other examples": alone[others.argmin(0), columns],
            "best expert by all examples": alone[alone.mean(1).argmin()],
        }.items():
            found.setdefault(what, []).append(losses)
    return found


if __name__ == "__main__":
    main()
