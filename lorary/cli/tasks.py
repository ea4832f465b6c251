"""Read the tasks of ``--tasks``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jsonargparse import Namespace

from lorary.cli.left_out import tell_rows
from lorary.cli.task_places import parse_places
from lorary.cli.template_options import read_template_args
from lorary.data import SplitConfig, Task, Template, find_template, read_task
from lorary.data.synthetic import read_synthetic
from lorary.experts import check_name
from lorary.files import quote


def read_tasks(options: Namespace, splits: SplitConfig | None = None) -> dict[str, Task]:
    """Read all tasks of ``--tasks`` as ``load_tasks``, and print on stderr what is left out of their rows."""
    tasks = load_tasks(options, splits)
    tell_rows(tasks)
    return tasks


def load_tasks(options: Namespace, splits: SplitConfig | None = None) -> dict[str, Task]:
    """Read all tasks of ``--tasks``.

    Args:
        options: the command's options.
        splits: how files without splits are split; None for the default fractions.

    Returns:
        The tasks by name, in the order given; every name is a valid name for an expert.

    Raises:
        ValueError: if the option is not a list or mapping of places, or two tasks have the same name.
        DataError: if a place cannot be read.
    """
    tasks: dict[str, Task] = {}
    for name, place in parse_places(options.tasks):
        for task in _read_place(name, place, options, splits):
            if task.name in tasks:
                raise ValueError(
                    f"two tasks have the name {quote(task.name)}: rename one of them, as in "
                    "--tasks NAME=PLACE"
                )
            tasks[check_name(task.name)] = task
    return tasks


def read_task_template(options: Namespace) -> Template:
    """Return the template of ``--template``, with its arguments."""
    return find_template(
        options.template,
        with_definition=options.with_definition,
        template_args=read_template_args(options.template_args),
    )


def read_columns(value: object) -> dict[str, Any] | None:
    """Parse the map of columns: words such as ``input=question,context``, or a mapping from YAML.

    Raises:
        ValueError: if it is of another form.
    """
    if value is None or isinstance(value, Mapping):
        return None if value is None else dict(value)
    words = [value] if isinstance(value, str) else value
    parts = (
        [word.partition("=") for word in words if isinstance(word, str)] if isinstance(words, list) else []
    )
    columns = {part: names for part, equals, names in parts if equals}
    if not isinstance(words, list) or len(columns) < len(words):
        raise ValueError(
            f"columns must name each part once, as in input=question,context target=sql, found {quote(value)}"
        )
    return columns


def _read_place(
    name: str | None, place: str | Mapping[str, str], options: Namespace, splits: SplitConfig | None
) -> Sequence[Task]:
    if isinstance(place, str) and (found := read_synthetic(place)) is not None:
        return found if name is None or len(found) > 1 else [replace(found[0], name=name)]
    return [
        read_task(
            place,
            name=name,
            format=options.format,
            columns=read_columns(options.columns),
            turns=options.turns,
            skip_bad=options.skip_bad,
            splits=splits,
        )
    ]
