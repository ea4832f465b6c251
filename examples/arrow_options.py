"""Sweep Arrow's options on validation examples: which temperature, top-k, norm of the input, combination?

    python examples/arrow_options.py DATA runs/first-library --num-examples 6

Takes the library that examples/natural_instructions.py trained into the second folder. Prints the mean target
loss of each setting beside base, uniform and oracle, with standard errors; writes arrow-options.json there.
"""

import argparse
from pathlib import Path

from natural_instructions import LONGEST, read_tasks, show_bar
from rich.console import Console
from rich.table import Table

import lorary
from lorary.data import find_template
from lorary.evaluation import EvalConfig, Route, evaluate
from lorary.library import Library
from lorary.routing import ArrowConfig

SETTINGS = {
    "arrow factors": ("factors", ArrowConfig()),
    "arrow outputs": ("outputs", ArrowConfig()),
    "factors, top-1": ("factors", ArrowConfig(top_k=1)),
    "factors, top-2": ("factors", ArrowConfig(top_k=2)),
    "factors, top-8": ("factors", ArrowConfig(top_k=8)),
    "factors, temperature 0.2": ("factors", ArrowConfig(temperature=0.2)),
    "factors, temperature 5": ("factors", ArrowConfig(temperature=5.0)),
    "factors, unit input": ("factors", ArrowConfig(input_norm="unit")),
    "factors, rms input": ("factors", ArrowConfig(input_norm="rms")),
    "factors, by gain": ("factors", ArrowConfig(weigh_by_gain=True)),
    "outputs, by gain": ("outputs", ArrowConfig(weigh_by_gain=True)),
    "outputs, top-1": ("outputs", ArrowConfig(top_k=1)),
    "outputs, top-16": ("outputs", ArrowConfig(top_k=16)),
}


def main() -> None:
    """Evaluate every setting on the validation split."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-examples", type=int, default=6, help="validation examples per task")
    args = parser.parse_args()
    tasks = read_tasks(args.data)
    experts = Library.open(str(args.out / "library"))
    tasks = {name: task for name, task in tasks.items() if name in experts}
    model = lorary.load_model("smollm2-135m", experts, router=None)
    routes = [
        Route(name="base"),
        Route(name="uniform outputs", router="uniform"),
        Route(name="uniform factors", router="uniform", combine="factors"),
        *(Route(name=name, router="arrow", options=o, combine=c) for name, (c, o) in SETTINGS.items()),
        Route(name="oracle", expert_of={name: name for name in tasks}),
    ]
    config = EvalConfig(split="validation", num_examples=args.num_examples, max_length=LONGEST)
    with show_bar("evaluating") as show:
        result = evaluate(
            model,
            tasks,
            routes,
            find_template("plain"),
            config,
            on_progress=lambda event: show(event.num_done, event.num_total),
        )
    result.to_json(args.out / "arrow-options.json")
    table = Table("route", "mean loss", "standard error")
    for route in routes:
        found = result.overall(route.name, "loss")
        table.add_row(route.name, f"{found.mean:.3f}", f"{found.standard_error:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
