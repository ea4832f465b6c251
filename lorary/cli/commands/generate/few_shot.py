"""The examples of ``--few-shot``, which are put before a prompt."""

from jsonargparse import Namespace

from lorary.data import Task, read_task, subsample
from lorary.data.synthetic import read_synthetic
from lorary.errors import DataError
from lorary.files import quote


def read_shots(options: Namespace) -> Task | None:
    """Read the examples of ``--few-shot``, as a task's training examples; None without it.

    Raises:
        ValueError: if the number is too small.
        DataError: if the place cannot be read, has several tasks, or has no questions.
    """
    place = options.few_shot
    if place is None:
        return None
    if options.shots < 1:
        raise ValueError(f"--shots must be at least 1, found {quote(options.shots)}")
    tasks = read_synthetic(place) or [read_task(place)]
    if len(tasks) > 1:
        raise DataError(f"--few-shot takes the examples of one task, found {len(tasks)} in {quote(place)}")
    known = [example for examples in tasks[0].splits.values() for example in examples if not example.is_text]
    if not known:
        raise DataError(f"{quote(place)} has texts without questions: --few-shot takes questions and answers")
    chosen = subsample(known, options.shots, options.seed or 0)
    return Task("prompt", {"train": chosen}, definition=tasks[0].definition)
