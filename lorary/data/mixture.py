"""Joining many tasks into one, for the control that trains a single expert on all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lorary.data.splits import drop_overlap
from lorary.data.task import SPLIT_NAMES, Example, Task


def mix_tasks(tasks: Mapping[str, Task], name: str, *, is_balanced: bool = False) -> Task:
    """Join the examples of all tasks into one task; each keeps its own task's definition.

    Training examples that another task has as test inputs are dropped, so that the mixture's expert is not
    trained on any task's test input.

    Args:
        tasks: the tasks; their examples are joined in this order.
        name: the mixture's name.
        is_balanced: whether all tasks have as many training examples as the largest: those of the others are
            repeated. Other splits are not.

    Raises:
        ValueError: if there are no tasks.
    """
    if not tasks:
        raise ValueError("there must be at least one task to mix, found none")
    pooled = {
        split: [
            _with_definition(task, example)
            for task in tasks.values()
            for example in task.splits.get(split, ())
        ]
        for split in SPLIT_NAMES
    }
    apart = drop_overlap(pooled)
    num_dropped = sum(len(pooled[split]) - len(apart[split]) for split in SPLIT_NAMES)
    if is_balanced:
        apart = {**apart, "train": _balance(tasks, apart["train"])}
    return Task(
        name=name,
        splits=apart,
        num_skipped=sum(task.num_skipped for task in tasks.values()),
        num_duplicates=sum(task.num_duplicates for task in tasks.values()),
        num_overlapping=num_dropped + sum(task.num_overlapping for task in tasks.values()),
        num_rejected=sum(task.num_rejected for task in tasks.values()),
        formats=_join(task.formats for task in tasks.values()),
        unused=_join(task.unused for task in tasks.values()),
    )


def _balance(tasks: Mapping[str, Task], kept: Sequence[Example]) -> tuple[Example, ...]:
    """Repeat the training examples of each task up to the number of the largest."""
    left = set(kept)
    own = [
        [
            each
            for example in task.splits.get("train", ())
            if (each := _with_definition(task, example)) in left
        ]
        for task in tasks.values()
    ]
    longest = max(map(len, own))
    return tuple(some[place % len(some)] for some in own if some for place in range(longest))


def _with_definition(task: Task, example: Example) -> Example:
    return replace(example, definition=task.definition_of(example))


def _join(groups: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))
