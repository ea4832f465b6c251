"""The options that ``lorary eval`` and ``lorary report`` share."""

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.comparison.routes import DEFAULT_ROUTES
from lorary.cli.router_options import add_router_options, describe_routers
from lorary.cli.task_options import add_task_options
from lorary.evaluation import EvalConfig, describe_metrics
from lorary.evaluation.compare import REFERENCES


def add_comparison_options(parser: ArgumentParser, *routes: str) -> None:
    """Add the library, the tasks, the routes, the metrics and the model.

    Args:
        parser: the command's.
        routes: what the option of the routes is called; the first is its name.
    """
    parser.add_argument("library", help="Folder or URL of the library")
    add_task_options(parser)
    parser.add_argument(
        *routes,
        type=list[str] | str | None,
        help="Routes, with commas: base, random, oracle, expert:NAME, a control's name, "
        f"{describe_routers()}; "
        f"{','.join(DEFAULT_ROUTES)} and all controls if not given",
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
    add_base_options(parser)
    add_router_options(parser, with_tasks=True)
    parser.add_class_arguments(EvalConfig, "evaluation", skip={"metrics"})
