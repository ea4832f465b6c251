"""Compare ways of using a library: the base model, experts, routers.

Prints a table per metric with standard errors. A route is base, the name of a router, oracle (each task's own
expert), random (a control without knowledge), expert:NAME, or a name from --controls.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.comparison.options import add_comparison_options

EXAMPLE = "lorary eval ./my-loras --tasks synthetic --routes base,uniform,arrow --metrics loss,exact_match"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what is compared, and where the numbers go."""
    add_comparison_options(parser, "--routes", "--router")
    parser.add_argument("--out", type=Path | None, help="Folder for results.json and table.md")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")
