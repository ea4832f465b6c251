"""Choose the tasks that each expert is trained on: its own task, all tasks, or a group."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lorary.data import Task, mix_tasks
from lorary.errors import suggest
from lorary.experts import check_name
from lorary.files import quote
from lorary.training import TrainingExamples


def choose_members(
    tasks: Sequence[str], expert: str | None, groups: Mapping[str, Sequence[str]] | None
) -> dict[str, tuple[str, ...]]:
    """Choose the tasks that each expert is trained on.

    Args:
        tasks: names of all tasks.
        expert: name of one expert for all tasks, or None.
        groups: expert -> its tasks, or None; tasks in no group are not used.

    Returns:
        Expert -> names of its tasks.

    Raises:
        ValueError: if both are given, a group is empty or names a task twice, or a task is unknown.
    """
    if expert is not None and groups is not None:
        raise ValueError(
            "--expert trains one expert on all tasks and --groups one per group: use only one of them"
        )
    if expert is not None:
        return {check_name(expert): tuple(tasks)}
    if groups is None:
        return {task: (task,) for task in tasks}
    if not groups:
        raise ValueError("--groups must name at least one expert, found none")
    for name, members in groups.items():
        check_name(name)
        for task in members:
            if task not in tasks:
                raise ValueError(
                    f"group {name!r} has the task {quote(task)}, which is not in --tasks: "
                    f"{suggest(task, tasks)}"
                )
        if not members or len(set(members)) < len(members):
            raise ValueError(
                f"group {name!r} must name at least one task, each once, found {quote(list(members))}"
            )
    return {name: tuple(members) for name, members in groups.items()}


def pool_tasks(tasks: Mapping[str, Task], members: Mapping[str, Sequence[str]]) -> dict[str, Task]:
    """Mix the tasks of each expert into one; a single task of the expert's name is kept."""
    return {
        name: tasks[own[0]] if list(own) == [name] else mix_tasks({task: tasks[task] for task in own}, name)
        for name, own in members.items()
    }


def name_members(
    examples: Mapping[str, TrainingExamples], members: Mapping[str, Sequence[str]]
) -> dict[str, TrainingExamples]:
    """Record in each expert's examples the names of its tasks, for its card."""
    return {name: replace(found, tasks=tuple(members[name])) for name, found in examples.items()}
