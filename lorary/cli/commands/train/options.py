"""Train one expert per task, many at once, into a library.

Goes on where an earlier run of the same command was stopped; finished experts are in the library at once.
Without epochs, max_steps or max_tokens each expert sees its examples 3 times. --expert trains one expert on
all tasks, --groups one on each group of them.
"""

from pathlib import Path

from jsonargparse import ArgumentParser

from lorary.cli.base_options import DEFAULT_BASE, add_base_options
from lorary.cli.task_options import add_task_options
from lorary.data.fitting import Truncation
from lorary.training import TrainConfig

EXAMPLE = "lorary train ./my-loras --tasks synthetic --training.max_steps 4"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the library, the tasks, the base model and how to train."""
    parser.add_argument("library", help="Folder or URL of the library; made if there is none")
    add_task_options(parser)
    parser.add_argument(
        "--max-length", type=int, default=512, help="Most tokens of prompt and target together"
    )
    parser.add_argument(
        "--truncation",
        type=Truncation,
        default="prompt-middle",
        help="What to do with longer examples; a target is never cut",
    )
    add_base_options(parser, DEFAULT_BASE)
    parser.add_argument(
        "--expert", type=str | None, help="Train one expert of this name on all tasks, not one per task"
    )
    parser.add_argument(
        "--groups",
        type=dict[str, list[str]] | None,
        help="Train one expert per group of tasks: in YAML or JSON, expert to the names of its tasks",
    )
    parser.add_argument(
        "--run", type=Path | None, help="Folder of the resumable state; beside a local library if not given"
    )
    parser.add_argument("--fresh", action="store_true", help="Start over instead of resuming")
    parser.add_argument(
        "--replace", action="store_true", help="Replace experts of these names that were trained otherwise"
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table")
    parser.add_class_arguments(TrainConfig, "training")
