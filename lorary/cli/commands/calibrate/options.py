"""Calibrate a library's experts before their first answer; with --tasks, tune the default router.

The default router compares an expert's reaction to a request with its reaction to generic text. The latter
is measured once for each expert and stored in the library. --tasks tunes the router's options
on your validation examples. Every second example is held out, and the options are stored in the library only
if they are better on these. Later commands use them, and report it. --reset removes them.
"""

from jsonargparse import ArgumentParser

from lorary.cli.base_options import add_base_options
from lorary.cli.role_options import add_role_option
from lorary.cli.task_options import add_task_options
from lorary.evaluation import EvalConfig

EXAMPLE = "lorary calibrate ./my-loras --tasks data/poetry.jsonl data/sql.jsonl"
COMMON = (
    "--tasks",
    "--reset",
    "--evaluation.split",
    "--evaluation.num_examples",
    "--template",
    "--base",
    "--device",
    "--json",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, and the examples to tune the router on."""
    parser.add_argument("library", help="Folder or URL of the library")
    add_task_options(parser, required=False)
    parser.add_class_arguments(
        EvalConfig,
        "evaluation",
        skip={"metrics", "batch_size", "max_new_tokens"},
        # The test split is for what is measured afterwards.
        default={"num_examples": 20, "split": "validation"},
    )
    parser.add_argument(
        "--reset", action="store_true", help="Remove tuned options from the library, and calibrate only"
    )
    add_role_option(parser)
    add_base_options(parser)
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
