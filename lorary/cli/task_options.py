"""The options that say which tasks a command works on, and how their examples become prompts."""

import argparse
from typing import Any, Literal

from jsonargparse import ArgumentParser

TASKS_HELP = (
    "Task files, folders of them, hf:owner/name, 'synthetic' or synthetic:NAME; NAME=PLACE gives a task its "
    "name. In YAML also a mapping: name to place, or to one place per split"
)


class KeepPlaces(argparse.Action):
    """Takes words from the command line, and whatever a YAML file has: a list, or a mapping by name."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Keep the value as it is."""
        setattr(namespace, self.dest, values)


def add_task_options(parser: ArgumentParser, *, required: bool = True) -> None:
    """Add the tasks, how their files are read, and the template."""
    parser.add_argument(
        "--tasks", action=KeepPlaces, nargs="+", required=required, metavar="PLACE", help=TASKS_HELP
    )
    parser.add_argument(
        "--format", type=str | None, help="Format of the rows; chosen by their content if not given"
    )
    parser.add_argument("--skip-bad", action="store_true", help="Count bad rows instead of refusing the file")
    parser.add_argument(
        "--template", type=Literal["plain", "chat"], default="plain", help="How examples become prompts"
    )
    parser.add_argument(
        "--with-definition",
        type=bool,
        default=True,
        help="Whether prompts open with the task's definition, where it has one",
    )
