"""Which expert is a task's own, by what the experts' cards say."""

from collections.abc import Collection, Sequence

from lorary.library.entry import Entry


def find_own_experts(entries: Sequence[Entry], tasks: Collection[str]) -> dict[str, str]:
    """Find each task's own expert.

    It is the one of the task's name, else the only one trained on that task alone, else the only one trained
    on it among others, such as that of its cluster.

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
