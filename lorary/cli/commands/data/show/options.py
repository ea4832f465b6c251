"""Show how task files are read: formats, counts, and an example as the model sees it.

In the example, lines of the prompt begin with '|' and lines of the target with '>'. With --base the example
is decoded from that model's tokens, as in training.
"""

from jsonargparse import ArgumentParser

from lorary.cli.keep_places import KeepPlaces
from lorary.cli.task_options import TASKS_HELP, add_reading_options

EXAMPLE = "lorary data show synthetic:plurals"


def add_arguments(parser: ArgumentParser) -> None:
    """Add the tasks, the options for reading them, and the base model."""
    parser.add_argument("tasks", action=KeepPlaces, nargs="+", help=TASKS_HELP)
    add_reading_options(parser)
    parser.add_argument("--base", type=str | None, help="Base model whose tokens and chat template are shown")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of lines")
