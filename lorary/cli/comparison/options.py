"""The options that ``lorary eval`` and ``lorary report`` share."""

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.role_options import add_role_option
from lorary.cli.router_options import add_router_options, describe_routers
from lorary.cli.task_options import add_task_options
from lorary.evaluation import EvalConfig
from lorary.evaluation.compare import REFERENCES
from lorary.evaluation.measures.table import describe_metrics

DEFAULT_ROUTES = ("base", "random", "uniform", "arrow", "calibrated", "oracle")


def add_comparison_options(parser: ArgumentParser, *routes: str, needs_tasks: bool = True) -> None:
    """Add the library, the tasks, the routes, the metrics and the model.

    Args:
        parser: the command's parser.
        routes: names of the option for the routes; the first is its main name.
        needs_tasks: whether the options of tasks are required.
    """
    without = (
        "" if needs_tasks else "; with --base and no library, the base model and --controls are measured"
    )
    parser.add_argument(
        "library", nargs=None if needs_tasks else "?", help=f"Folder or URL of the library{without}"
    )
    add_task_options(parser, required=needs_tasks)
    parser.add_argument(
        "--shots",
        type=int,
        default=0,
        metavar="NUMBER",
        help="Number of training examples of the task, with answers, before each prompt (few-shot)",
    )
    parser.add_argument(
        *routes,
        type=list[str] | str | None,
        metavar="NAME[,NAME…]",
        help="Routes: base, random, oracle, tasks (skills with each task's weights), expert:NAME for any "
        f"expert in the library, the name of a control, or a router. {describe_routers()}; "
        f"if not given: {','.join(DEFAULT_ROUTES)}, all controls, and tasks if the library has skills",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        help="Reference route, with which all others are compared example by example; if not given: the "
        f"first of these that is evaluated: {', '.join(REFERENCES)}",
    )
    parser.add_argument(
        "--metrics",
        type=list[str] | str,
        default="loss",
        metavar="NAME[,NAME…]",
        help=f"Metrics: {describe_metrics()}",
    )
    parser.add_argument(
        "--controls",
        type=str | None,
        help="Library of control experts, such as one trained on all tasks; routers never choose them",
    )
    parser.add_argument(
        "--skills",
        type=str | None,
        help="Any skill of the set for the route tasks, if the library has several sets",
    )
    add_role_option(parser)
    add_base_options(parser, default_dtype="float32, in which answers do not depend on the rest of the batch")
    add_router_options(parser, with_tasks=True)
    parser.add_class_arguments(EvalConfig, "evaluation", skip={"metrics"})
