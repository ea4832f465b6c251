"""The split of a new task's few examples into training and validation examples."""

from dataclasses import replace

from lorary.data import Task, subsample

ONE_IN = 5


def hold_out(task: Task) -> Task:
    """Return a task with validation examples held out from its training examples, the same for all methods.

    A task that has validation examples is returned unchanged. Otherwise one in five training examples
    is held out, at least one if there are two or more. They are chosen by content hash, so neither the order
    of the examples nor a seed matters.

    Args:
        task: the task; its few examples are those of the split ``"train"``.
    """
    train = task.splits.get("train", ())
    if task.splits.get("validation") or len(train) < 2:
        return task
    held_out = subsample(train, max(1, len(train) // ONE_IN))
    kept = tuple(example for example in train if example not in held_out)
    # If all examples are equal, all of them would be held out.
    return replace(task, splits={**task.splits, "train": kept, "validation": held_out}) if kept else task
