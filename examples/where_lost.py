"""Where is calibrated routing worse than the right expert?

    python examples/where_lost.py DATA runs/first-library seen bare --num-test 4

Takes the library that examples/natural_instructions.py trained into that folder. Sorts the examples by where
calibrated scores rank the task's own expert, and prints for each group the mean losses, and its share of the
excess loss over the right expert, of calibrated routing and of the best-ranked expert alone. Writes
where-lost-SET.json.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from task_sets import configure, find_tasks, find_template_of, measure

import lorary
from lorary.assembly import RoutedModel
from lorary.evaluation import Result, Route
from lorary.evaluation.chosen_examples import choose_examples
from lorary.facts.requests import pad_prompts
from lorary.library import Library
from lorary.routing import CalibratedConfig

GROUPS = ("first", "second to fourth", "fifth to eighth", "further back")
FIRST_RANKS = (0, 1, 4, 8)
ROUTES = ("base", "calibrated", "calibrated, always sure", "best-ranked alone", "oracle")


def main() -> None:
    """Rank the experts for each example, and run the routes on it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", nargs="+", choices=("seen", "bare", "validation", "validation-bare"))
    parser.add_argument("--num-test", type=int, default=4, help="examples per task")
    args = parser.parse_args()
    library = Library.open(str(args.out / "library"))
    model = lorary.load_model("smollm2-135m", library, router=None)
    sure = CalibratedConfig(margin=None, temperature=0.2)
    alone = CalibratedConfig(margin=None, top_k=1)
    for name in args.sets:
        tasks = {task: found for task, found in find_tasks(args.data, name).items() if task in model.names}
        routes = [
            Route(name="base"),
            Route(name="calibrated", router="calibrated"),
            Route(name="calibrated, always sure", router="calibrated", options=sure),
            Route(name="best-ranked alone", router="calibrated", options=alone),
            Route(name="oracle", expert_of={task: task for task in tasks}),
        ]
        result = measure(model, name, tasks, routes, args.num_test)
        result.to_json(args.out / f"where-lost-{name}.json")
        ranks = {task: rank_own(model, name, task, found, args.num_test) for task, found in tasks.items()}
        Console(width=150).print(summarize(result, ranks, f"{name}: where the task's own expert is ranked"))


def rank_own(
    model: RoutedModel, name: str, task: str, found: lorary.Task, num_test: int
) -> NDArray[np.int64]:
    """Count the experts that are ranked before the task's own, for each of its examples."""
    chosen = choose_examples(
        model.tokenizer, task, found, find_template_of(name), configure(name, num_test)
    ).tokens.examples
    everyone = CalibratedConfig(margin=None, top_k=len(model.names))
    with model.routed("calibrated", everyone):
        assert model.decider is not None
        requests = pad_prompts([example.prompt_ids for example in chosen], model.model.device)
        order, _ = model.decider.decide_packed(requests)  # [examples, experts], best first
    return (order == model.names.index(task)).int().argmax(1).numpy()


def summarize(result: Result, ranks: dict[str, NDArray[np.int64]], title: str) -> Table:
    """Average by group; all tasks have the same weight, as in all tables."""
    losses = {route: [np.array(result.values(task, route, "loss")) for task in ranks] for route in ROUTES}
    weights = np.concatenate([np.full(len(rank), 1 / len(rank)) for rank in ranks.values()]) / len(ranks)
    flat = {route: np.concatenate(rows) for route, rows in losses.items()}
    group = np.searchsorted(FIRST_RANKS, np.concatenate(list(ranks.values())), side="right") - 1
    table = Table("own expert", "examples", *ROUTES, "share of the loss", "… best-ranked alone", title=title)
    gaps = {route: flat[route] - flat["oracle"] for route in ("calibrated", "best-ranked alone")}
    for number, what in enumerate(GROUPS):
        inside = group == number
        if not inside.any():
            continue
        means = [f"{np.average(flat[route][inside], weights=weights[inside]):.3f}" for route in ROUTES]
        shares = [f"{(weights * gap)[inside].sum() / (weights * gap).sum():.0%}" for gap in gaps.values()]
        table.add_row(what, str(inside.sum()), *means, *shares)
    table.add_row(
        "all", str(len(group)), *(f"{(weights * flat[route]).sum():.3f}" for route in ROUTES), "", ""
    )
    return table


if __name__ == "__main__":
    main()
