"""Sweep Arrow's options on validation examples: temperature, top-k, norm of the input, combination.

    python examples/arrow_options.py DATA runs/first-library --num-examples 6

Takes the library that examples/natural_instructions.py trained into the second folder. Prints the mean target
loss of each setting and of base, uniform and oracle, with standard errors, and the paired differences to
Arrow's defaults; writes arrow-options.json and .md there.
"""

import argparse
from pathlib import Path

from natural_instructions import LONGEST, read_tasks, show_bar
from rich.console import Console
from rich.table import Table

import lorary
from lorary.data import find_template
from lorary.evaluation import EvalConfig, Route, compare_routes, evaluate
from lorary.library import Library
from lorary.reports import difference_grid, render_markdown, render_table
from lorary.routing import ArrowConfig

SETTINGS = {
    "defaults": ArrowConfig(),
    "top-1": ArrowConfig(top_k=1),
    "top-2": ArrowConfig(top_k=2),
    "top-8": ArrowConfig(top_k=8),
    "top-16": ArrowConfig(top_k=16),
    "temperature 0.2": ArrowConfig(temperature=0.2),
    "temperature 5": ArrowConfig(temperature=5.0),
    "unit input": ArrowConfig(input_norm="unit"),
    "unit input, temperature 0.1": ArrowConfig(input_norm="unit", temperature=0.1),
    "rms input": ArrowConfig(input_norm="rms"),
    "by gain": ArrowConfig(weigh_by_gain=True),
    "tied inputs": ArrowConfig(tie_inputs=True),
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
        *(
            Route(name=f"{combine}, {name}", router="arrow", options=options, combine=combine)
            for combine in ("outputs", "factors")
            for name, options in SETTINGS.items()
        ),
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
    default = f"outputs, {next(iter(SETTINGS))}"
    differences = difference_grid(compare_routes(result, "loss", default), 3)
    Console().print(render_table(differences, width=120))
    (args.out / "arrow-options.md").write_text(render_markdown(differences))


if __name__ == "__main__":
    main()
