"""Finding the expert of each task, by the tasks in the experts' cards."""

from collections.abc import Collection, Sequence

from lorary.library.entry import Entry


def find_own_experts(entries: Sequence[Entry], tasks: Collection[str]) -> dict[str, str]:
    """Find each task's own expert.

    It is the expert of the task's name; else the only expert trained on that task alone; else the only expert
    trained on it together with others, such as the expert of its cluster.

    Args:
        entries: the experts.
        tasks: names of tasks.

    Returns:
        Task -> expert, for the tasks that have one.
    """
    names = {entry.name for entry in entries}
    found = {}
    for task in tasks:
        trained = [entry for entry in entries if task in entry.card.tasks]
        alone = [entry for entry in trained if len(entry.card.tasks) == 1]
        if task in names:
            found[task] = task
        elif len(alone or trained) == 1:
            found[task] = (alone or trained)[0].name
    return found
