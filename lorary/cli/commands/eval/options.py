"""Compare routes on tasks: the base model, single experts, routers.

The tasks are files (--tasks), or benchmarks of lm-evaluation-harness (--harness) whose files are in --data.
Prints a table per metric, with standard errors. A route is base, the name of a router, oracle (each task's
own expert), random (an expert of random weights), expert:NAME, or the name of an expert in --controls.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.comparison.options import add_comparison_options
from lorary.evaluation.bridges.config import HarnessConfig

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
    "--shots",
    "--base",
    "--device",
    "--json",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the comparison and the folder of its results."""
    add_comparison_options(parser, "--routes", "--router", needs_tasks=False)
    add_harness_options(parser)
    parser.add_argument(
        "--out",
        type=Path | None,
        help="Folder for results.json, table.md, items.jsonl (what each route answered to each example) "
        "and responses.jsonl (from which a killed run continues)",
    )
    parser.add_argument(
        "--resume",
        type=bool,
        nargs="?",
        const=True,
        default=True,
        help="Reuse answers in --out for the same model, experts and prompts; false recomputes everything",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("A.json", "B.json"),
        help="Compare two results on their common examples, B minus A, instead of measuring anything",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of tables")


def add_harness_options(parser: ArgumentParser) -> None:
    """Add the benchmarks of lm-evaluation-harness, and how they are run."""
    parser.add_argument(
        "--harness",
        type=list[str] | str | None,
        metavar="NAME[,NAME…]",
        help="Tasks or groups of lm-evaluation-harness, by their names there, such as arc_easy,piqa,mmlu; "
        "needs the extra lorary[lm-eval]. --tasks then has the tasks that the experts were trained on, if a "
        "router needs examples of these",
    )
    parser.add_argument(
        "--data",
        type=Path | None,
        metavar="FOLDER",
        help="Folder of the benchmarks' files, JSON lines that may be packed with xz",
    )
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="Execute the programs that the model writes, in a sandbox, for code tasks",
    )
    parser.add_class_arguments(HarnessConfig, "lm_eval")
