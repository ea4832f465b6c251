"""Reading the places ``synthetic`` and ``synthetic:NAME``, which stand for synthetic tasks."""

from lorary.data.synthetic.catalogue import generate_task, generate_tasks
from lorary.data.task import Task

# "generated" was the name in earlier versions, and is still accepted.
NAMES = ("synthetic", "generated")


def read_synthetic(place: str) -> list[Task] | None:
    """Generate the tasks that a place stands for.

    Args:
        place: ``synthetic`` for all tasks, ``synthetic:NAME`` for one; ``generated`` is a synonym.

    Returns:
        The tasks; ``None`` if the place is something else, such as a path.

    Raises:
        ValueError: if there is no synthetic task of that name.
    """
    kind, colon, name = place.partition(":")
    if kind not in NAMES:
        return None
    return [generate_task(name)] if colon else list(generate_tasks().values())
