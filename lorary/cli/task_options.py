"""The options for a command's tasks and for the prompts made from their examples."""

from typing import Literal

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces
from lorary.cli.template_options import add_template_args
from lorary.data.fitting import Truncation
from lorary.data.readers import FORMATS
from lorary.data.readers.columns import PARTS
from lorary.data.readers.read import Turns

TASKS_HELP = (
    "Task files, folders of task files, hf:owner/name, 'synthetic' or synthetic:NAME; NAME=PLACE names "
    "a task. In YAML also a mapping from names to a place, or to one place per split"
)

COLUMNS_HELP = (
    f"The columns of each part ({', '.join(PARTS)}), as in input=question,context target=sql, instead of a "
    "format; TASK:input=question for one of several tasks"
)


def add_task_options(parser: ArgumentParser, *, required: bool = True) -> None:
    """Add the options for tasks, for reading their files, and for the template."""
    parser.add_argument(
        "--tasks", action=KeepPlaces, nargs="+", required=required, metavar="PLACE", help=TASKS_HELP
    )
    add_reading_options(parser)


def add_reading_options(parser: ArgumentParser) -> None:
    """Add the options for reading task files and for the template."""
    parser.add_argument(
        "--format",
        choices=list(FORMATS),
        metavar="NAME",
        help=f"Format of the rows: {', '.join(FORMATS)}; if not given: recognised by each row's fields",
    )
    parser.add_argument("--columns", action=KeepPlaces, nargs="+", metavar="PART=COLUMN,…", help=COLUMNS_HELP)
    parser.add_argument(
        "--turns",
        type=Turns,
        default="last",
        help="Which of the assistant's turns in a conversation are targets",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="Skip and count bad rows instead of refusing the file"
    )
    parser.add_argument(
        "--template", type=Literal["plain", "chat"], default="plain", help="How examples become prompts"
    )
    add_template_args(parser)
    parser.add_argument(
        "--with-definition",
        type=bool,
        default=True,
        help="Whether prompts begin with the task's definition, if it has one",
    )


def add_length_options(parser: ArgumentParser) -> None:
    """Add the maximum length of training examples, and the handling of longer ones."""
    parser.add_argument(
        "--max-length", type=int, default=512, help="Maximum tokens of prompt and target together"
    )
    parser.add_argument(
        "--truncation",
        type=Truncation,
        default="prompt-middle",
        help="How to handle longer examples; targets are never truncated",
    )
