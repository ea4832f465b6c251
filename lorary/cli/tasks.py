"""Read the tasks that the options name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from jsonargparse import Namespace

from lorary.cli.task_places import find_places
from lorary.data import Task, Template, find_template, read_task
from lorary.data.synthetic import read_synthetic
from lorary.experts import check_name
from lorary.files import quote


def read_tasks(options: Namespace) -> dict[str, Task]:
    """Read all tasks that the options name.

    Returns:
        The tasks by name, in the order given; names are fit to be experts' names.

    Raises:
        ValueError: if the option is no list or mapping of places, or two tasks have one name.
        DataError: if a place cannot be read.
    """
    tasks: dict[str, Task] = {}
    for name, place in find_places(options.tasks):
        for task in _read_place(name, place, options):
            if task.name in tasks:
                raise ValueError(
                    f"two tasks are named {quote(task.name)}: give one of them another name, as in "
                    "--tasks NAME=PLACE"
                )
            tasks[check_name(task.name)] = task
    return tasks


def find_task_template(options: Namespace) -> Template:
    """Find the template that the options name."""
    return find_template(options.template, with_definition=options.with_definition)


def describe_skipped(tasks: Mapping[str, Task]) -> str:
    """Say what readers left out, ready to stand after a comma; nothing if they left nothing out."""
    counts = {
        "bad rows skipped": sum(task.num_skipped for task in tasks.values()),
        "duplicates dropped": sum(task.num_duplicates for task in tasks.values()),
        "dropped because a later split asks the same": sum(task.num_overlapping for task in tasks.values()),
    }
    return "".join(f", {count:,} {what}" for what, count in counts.items() if count)


def repeat_tasks(options: Namespace) -> list[str]:
    """Write the tasks as words of another command line; none if a YAML file split them by hand."""
    if isinstance(options.tasks, Mapping):
        places = find_places(options.tasks)
        if not all(isinstance(place, str) for _, place in places):
            return []
        return ["--tasks", *(f"{name}={place}" for name, place in places)]
    return ["--tasks", *([options.tasks] if isinstance(options.tasks, str) else options.tasks)]


def _read_place(name: str | None, place: str | Mapping[str, str], options: Namespace) -> Sequence[Task]:

    if isinstance(place, str) and (found := read_synthetic(place)) is not None:
        return found if name is None or len(found) > 1 else [replace(found[0], name=name)]
    return [read_task(place, name=name, format=options.format, skip_bad=options.skip_bad)]
