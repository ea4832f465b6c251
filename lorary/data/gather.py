"""Tasks in the forms that Python users have: tasks, data sets, rows, tables and places."""

from collections.abc import Mapping

from lorary.data.readers.read import Place, read_task
from lorary.data.task import Task

TaskLike = Task | Place | Mapping[str, Place]
"""A task, or what ``read_task`` reads: a ``datasets.Dataset`` or ``DatasetDict``, a list of dictionaries, a
table of pandas, a path, an ``hf:`` id, or one of these for each split."""


def gather_tasks(tasks: Mapping[str, TaskLike]) -> dict[str, Task]:
    """Read everything that is not a task yet, with the defaults of ``read_task``; keys are the names.

    Raises:
        DataError: if something cannot be read.
    """
    return {
        name: task if isinstance(task, Task) else read_task(task, name=name) for name, task in tasks.items()
    }
