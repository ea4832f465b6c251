"""Read the tasks of ``--tasks``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jsonargparse import Namespace

from lorary.cli.column_maps import check_columns, choose_columns, read_columns
from lorary.cli.left_out import tell_rows
from lorary.cli.task_places import parse_places
from lorary.cli.template_options import read_template_args
from lorary.data import SplitConfig, Task, Template, find_template, read_task
from lorary.data.readers.read import name_task
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
    places = [(name or _name_place(place), name, place) for name, place in parse_places(options.tasks)]
    maps = read_columns(options.columns)
    check_columns(maps, [known for known, _, _ in places])
    for known, name, place in places:
        for task in _read_place(name, place, choose_columns(maps, known), options, splits):
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


def _name_place(place: str | Mapping[str, str]) -> str:
    return name_task(place if isinstance(place, str) else next(iter(place.values())))


def _read_place(
    name: str | None,
    place: str | Mapping[str, str],
    columns: Mapping[str, Any] | None,
    options: Namespace,
    splits: SplitConfig | None,
) -> Sequence[Task]:
    if isinstance(place, str) and (found := read_synthetic(place)) is not None:
        return found if name is None or len(found) > 1 else [replace(found[0], name=name)]
    return [
        read_task(
            place,
            name=name,
            format=options.format,
            columns=columns,
            turns=options.turns,
            skip_bad=options.skip_bad,
            splits=splits,
        )
    ]
