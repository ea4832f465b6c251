"""Compare routes on tasks: the base model, single experts, routers.

Prints a table per metric, with standard errors. A route is base, the name of a router, oracle (each task's
own expert), random (an expert of random weights), expert:NAME, or the name of an expert in --controls.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.comparison.options import add_comparison_options

EXAMPLE = (
    "lorary eval ./my-loras --tasks synthetic --routes base,uniform,calibrated --metrics loss,exact_match"
)
COMMON = (
    "--tasks",
    "--routes",
    "--metrics",
    "--out",
    "--against",
    "--controls",
    "--evaluation.num_examples",
    "--evaluation.split",
    "--template",
    "--base",
    "--device",
    "--json",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the comparison and the folder of its results."""
    add_comparison_options(parser, "--routes", "--router")
    parser.add_argument("--out", type=Path | None, help="Folder for results.json and table.md")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")
