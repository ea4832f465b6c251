"""The tasks of a model's skills: each is an additional expert on the model, used by the task's name only.

The names of these experts have a colon, unlike those of experts in a library.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.errors import suggest
from lorary.experts import Expert
from lorary.experts.skills import SkillSet
from lorary.files import quote

TASK = "task"
PREFIX = "task:"
MEAN = "tasks:mean"
"""The expert of a task that is not in the table."""


def make_task_experts(skill_set: SkillSet | None) -> dict[str, Expert]:
    """Make the experts of all tasks of some skills, and that of any other task, by their names on a model."""
    if skill_set is None:
        return {}
    found = {
        f"{PREFIX}{task}": skill_set.task_expert(task, f"task-{row}")
        for row, task in enumerate(skill_set.table.tasks)
    }
    return {**found, MEAN: skill_set.task_expert(None)}


def list_tasks(names: Sequence[str]) -> tuple[str, ...]:
    """List the tasks among the names of a model's experts."""
    return tuple(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))


def is_task_choice(choice: Mapping[str, Any]) -> bool:
    """Return whether a choice names a task: its only key is ``"task"``, and the value is not a weight."""
    return list(choice) == [TASK] and (choice[TASK] is None or isinstance(choice[TASK], str))


def name_task_expert(names: Sequence[str], task: str | None) -> str:
    """Return the name of a task's expert on a model.

    Args:
        names: the names of all experts on the model.
        task: the task; None for one that is not in the table.

    Raises:
        ValueError: if the model has no such task, or no tasks.
    """
    if MEAN not in names:
        raise ValueError(
            f"this model has no tasks, found {quote({TASK: task})}: load it with a library that has one set "
            "of skills, or with skills=..."
        )
    if task is None:
        return MEAN
    name = PREFIX + task
    if name not in names:
        raise ValueError(
            f"this model's skills have no task {quote(task)} (None takes their table's mean row): "
            f"{suggest(task, list_tasks(names))}"
        )
    return name
