"""Compare ways of using a library: the base model, experts, routers.

Prints a table per metric with standard errors. Routes: base, a router (arrow, spectr, lag, uniform, fixed,
single, calibrated; mean_activation, retrieval and phatgoose, which learn from training examples of --tasks),
oracle (each task's own expert), random (a control without knowledge), expert:NAME, each of the --controls.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from lorary.cli import model_options
from lorary.cli.bars import show_evaluation
from lorary.cli.out_place import check_out
from lorary.cli.printing import open_console, print_json, print_line, print_next
from lorary.cli.task_options import add_task_options, repeat_tasks

if TYPE_CHECKING:
    from lorary.evaluation import Result

EXAMPLE = "lorary eval ./my-loras --tasks synthetic --routes base,uniform,arrow --metrics loss,exact_match"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what is compared, and where the numbers go."""
    add_comparison_options(parser, "--routes", "--router")
    parser.add_argument("--out", type=Path | None, help="Folder for results.json and table.md")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")


def add_comparison_options(parser: ArgumentParser, *routes: str) -> None:
    """Add the library, the tasks, the routes, the metrics and the model.

    Args:
        parser: the command's.
        routes: what the option of the routes is called; the first is its name.
    """
    from lorary.cli.comparison.routes import DEFAULT_ROUTES
    from lorary.evaluation import EvalConfig, describe_metrics
    from lorary.evaluation.compare import REFERENCES

    parser.add_argument("library", help="Folder or URL of the library")
    add_task_options(parser)
    parser.add_argument(
        *routes,
        type=list[str] | str | None,
        help=f"Ways of answering, with commas; {','.join(DEFAULT_ROUTES)} and all controls if not given",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        help="The route that all others are held against, example by example; of those measured, the first "
        f"of {', '.join(REFERENCES)} if not given",
    )
    parser.add_argument(
        "--metrics",
        type=list[str] | str,
        default="loss",
        help=f"With commas: {describe_metrics()}",
    )
    parser.add_argument(
        "--controls", type=str | None, help="A library of further experts, such as one trained on all tasks"
    )
    model_options.add_base_options(parser)
    model_options.add_router_options(parser, with_tasks=True)
    parser.add_class_arguments(EvalConfig, "evaluation", skip={"metrics"})


def run(options: Namespace) -> int:
    """Read everything, measure each route on each task, and show the numbers."""
    from lorary.cli.commands.eval.report import print_result, summarize_result, write_result
    from lorary.cli.comparison.prepare import read_eval_options

    if options.out is not None:
        check_out(options.out, options.library)
    result = measure(options)
    if options.out is not None:
        write_result(result, options.out, options.against)
    if options.json:
        print_json(summarize_result(result, options.against))
        return 0
    print_result(result, open_console(), options.against)
    missing = [metric for metric in read_eval_options(options).metrics if metric not in result.metrics]
    if missing:
        print_line(f"no example suits {', '.join(missing)}: accuracies need examples with choices")
    if options.out is not None:
        print_line(f"numbers: {options.out / 'results.json'}  tables: {options.out / 'table.md'}")
        print_next("lorary", "generate", options.library, "PROMPT", "--show-experts")
    else:
        words = repeat_tasks(options) or ["--config", "FILE"]
        print_next("lorary", "eval", options.library, *words, "--out", "results")
    return 0


def measure(options: Namespace) -> "Result":
    """Load base and experts once, and evaluate."""
    from lorary.cli.comparison.prepare import prepare_comparison
    from lorary.evaluation import evaluate

    found = prepare_comparison(options)
    what = f"comparing {len(found.routes)} routes on {len(found.tasks)} tasks"
    try:
        with show_evaluation(what) as show:
            return evaluate(
                found.model, found.tasks, found.routes, found.template, found.config, on_progress=show
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "an evaluation that was stopped keeps no numbers; the library is as it was"
        ) from None
