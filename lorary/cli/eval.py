"""Compare ways of using a library: the base model, experts, routers.

Prints a table per metric with standard errors. Routes: base, a router (arrow, spectr, lag, uniform, fixed,
single, calibrated), oracle (each task's own expert), random (a control without knowledge), expert:NAME, and
each of the --controls by its name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace
from rich.console import Console

from lorary.cli import model_options
from lorary.cli.printing import print_json, print_next
from lorary.cli.progress import show_evaluation
from lorary.cli.task_options import add_task_options, find_task_template, read_tasks, repeat_tasks

if TYPE_CHECKING:
    from lorary.evaluation import EvalConfig, Result
    from lorary.experts import Expert
    from lorary.library import Library

EXAMPLE = "lorary eval ./my-loras --tasks generated --routes base,uniform,arrow --metrics loss,exact_match"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the tasks, the routes, the metrics and the model."""
    from lorary.evaluation import EvalConfig

    parser.add_argument("library", help="Folder or URL of the library")
    add_task_options(parser)
    parser.add_argument(
        "--routes",
        type=list[str] | str | None,
        help="Ways of answering, with commas; base,random,uniform,arrow,oracle and all controls if not given",
    )
    parser.add_argument(
        "--metrics",
        type=list[str] | str,
        default="loss",
        help="With commas: loss, exact_match, rouge_l, accuracy_sum, accuracy_per_token, accuracy_per_byte",
    )
    parser.add_argument(
        "--controls", type=str | None, help="A library of further experts, such as one trained on all tasks"
    )
    model_options.add_base_options(parser)
    model_options.add_router_options(parser)
    parser.add_argument("--out", type=Path | None, help="Folder for results.json and table.md")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")
    parser.add_class_arguments(EvalConfig, "evaluation", skip={"metrics"})


def run(options: Namespace) -> int:
    """Read everything, measure each route on each task, and show the numbers."""
    from lorary.cli.eval_steps.report import print_result, summarize_result, write_result

    result = measure(options)
    if options.out is not None:
        write_result(result, options.out)
    if options.json:
        print_json(summarize_result(result))
        return 0
    console = Console()
    print_result(result, console)
    missing = [metric for metric in read_eval_options(options).metrics if metric not in result.metrics]
    if missing:
        console.print(f"no example has choices, which {', '.join(missing)} would need")
    if options.out is not None:
        print(f"numbers: {options.out / 'results.json'}  tables: {options.out / 'table.md'}")
        print_next("lorary", "generate", options.library, "PROMPT", "--show-experts")
    else:
        words = repeat_tasks(options) or ["--config", "FILE"]
        print_next("lorary", "eval", options.library, *words, "--out", "results")
    return 0


def measure(options: Namespace) -> "Result":
    """Check all that can be checked, load base and experts once, and evaluate."""
    from lorary.assembly import load_model
    from lorary.cli.eval_steps.routes import choose_routes, find_own_experts
    from lorary.evaluation import evaluate, find_routes
    from lorary.routing import ROUTERS

    config = read_eval_options(options)
    tasks = read_tasks(options)
    for task in tasks.values():
        task.split(config.split)
    library = model_options.open_filled_library(options.library)
    controls = model_options.open_filled_library(options.controls) if options.controls is not None else {}
    own = find_own_experts(library.entries(), tasks)
    routes = choose_routes(options.routes, tasks, own, list(library), list(controls))
    configured = {
        route: model_options.read_router_options(options, route, list(library))
        for route in routes
        if route in ROUTERS
    }
    base = model_options.load_options_base(options, library)
    model = load_model(
        base, library, router=None, controls=gather_controls(library, controls, routes, config.seed)
    )
    # Only the oracle asks for own experts, and it is among the routes only if every task has one.
    answering = {task: own.get(task, task) for task in tasks}
    found = find_routes(routes, model, answering, options=configured, combine=options.combine)
    try:
        with show_evaluation(f"comparing {len(found)} routes on {len(tasks)} tasks") as show:
            return evaluate(model, tasks, found, find_task_template(options), config, on_progress=show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "an evaluation that was stopped keeps no numbers; the library is as it was"
        ) from None


def read_eval_options(options: Namespace) -> "EvalConfig":
    """Build the configuration.

    Raises:
        ValueError: naming what is wrong.
    """
    from lorary.cli.eval_steps.routes import split_commas
    from lorary.evaluation import EvalConfig

    return EvalConfig(metrics=tuple(split_commas(options.metrics)), **vars(options.evaluation))


def gather_controls(
    library: "Library", controls: "Mapping[str, Expert]", routes: Sequence[str], seed: int
) -> dict[str, "Expert"]:
    """Load the controls that the routes name, and make the random one if it is among them."""
    from lorary.cli.eval_steps.routes import RANDOM
    from lorary.evaluation.routes import EXPERT_PREFIX
    from lorary.transforms import random_expert

    wanted = {route.removeprefix(EXPERT_PREFIX) for route in routes}
    found = {name: controls[name] for name in controls if name in wanted}
    if RANDOM in wanted and RANDOM not in found:
        found[RANDOM] = random_expert(library, seed)
    return found
