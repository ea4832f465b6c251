"""Write one page about a library: results, who was routed where, which experts are alike.

The page needs nothing but a browser. It holds the results of the --routes with standard errors, the routing
of one --router by task and by layer and how undecided it is, the loss of every expert on every task, the
similarity of the experts with its tree, and samples whose tokens are coloured by expert.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.comparison.options import add_comparison_options
from lorary.routing import DEFAULT_ROUTER

EXAMPLE = "lorary report ./my-loras --tasks synthetic --router arrow --out report"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what is compared, the router that is looked into, and how closely."""
    add_comparison_options(parser, "--routes")
    parser.add_argument(
        "--router",
        type=str,
        default=DEFAULT_ROUTER,
        help="The router to look into, any of those that `lorary eval` knows",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="Folder for the page and its numbers"
    )
    parser.add_argument("--title", type=str | None, help="Heading of the page")
    parser.add_argument(
        "--traced-examples", type=int, default=4, help="Most examples per task whose routing is followed"
    )
    parser.add_argument(
        "--transfer-examples",
        type=int,
        default=4,
        help="Most examples per task on which every expert is tried; 0 leaves that out",
    )
    parser.add_argument("--num-samples", type=int, default=6, help="Tasks of which a sample is shown")
