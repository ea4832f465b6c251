"""Write an HTML report on a library: results, routing by task and layer, similarity of experts.

The page is one file without scripts. It shows the results of --routes with standard errors; the routing
weights of --router by task and by layer, and their entropy; the loss of every expert on every task; the
similarity of the experts, with a dendrogram; and sample answers whose tokens are coloured by expert.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.comparison.options import add_comparison_options
from lorary.routing import DEFAULT_ROUTER, ENCODER_ROUTER

EXAMPLE = "lorary report ./my-loras --tasks synthetic --out report"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the comparison, the router to analyse, and the sizes."""
    add_comparison_options(parser, "--routes")
    parser.add_argument(
        "--router",
        type=str | None,
        help=f"The router to analyse: any router of `lorary eval`; if not given: {DEFAULT_ROUTER}, or "
        f"{ENCODER_ROUTER} if the base model has an encoder",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="Folder for the page and the results as JSON"
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
    parser.add_argument("--title", type=str | None, help="Heading of the page")
    parser.add_argument(
        "--traced-examples", type=int, default=4, help="Maximum examples per task whose routing is analysed"
    )
    parser.add_argument(
        "--transfer-examples",
        type=int,
        default=4,
        help="Maximum examples per task on which every expert is measured; 0 leaves out this part",
    )
    parser.add_argument("--num-samples", type=int, default=6, help="Number of tasks with a sample answer")


COMMON = (
    "--tasks",
    "--router",
    "--out",
    "--routes",
    "--metrics",
    "--num-samples",
    "--evaluation.num_examples",
    "--template",
    "--base",
    "--device",
)
