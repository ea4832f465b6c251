"""The examples of several tasks as those of one unit, whose parameters the tasks share."""

from collections.abc import Mapping

from lorary.data import TokenizedExample
from lorary.training.examples import TrainingExamples
from lorary.training.objectives.skills import TaskExample


def join_tasks(examples: Mapping[str, TrainingExamples], *, is_balanced: bool) -> TrainingExamples:
    """Return the examples of all tasks as those of one unit, each with its task's row.

    Args:
        examples: task -> its examples.
        is_balanced: whether all tasks have as many training examples as the largest: examples of the others
            are repeated. Otherwise tasks count in proportion to their numbers of examples. Validation
            examples are not repeated.
    """
    longest = max(len(found.train) for found in examples.values())
    train, validation = [], []
    for row, found in enumerate(examples.values()):
        number = longest if is_balanced else len(found.train)
        train += [_mark(found.train[place % len(found.train)], row) for place in range(number)]
        validation += [_mark(example, row) for example in found.validation]
    return TrainingExamples(
        train=tuple(train),
        validation=tuple(validation),
        tasks=tuple(examples),
        spent_tokens=sum(found.spent_tokens for found in examples.values()),
    )


def _mark(example: TokenizedExample, row: int) -> TaskExample:
    return TaskExample(example.prompt_ids, example.target_ids, example.num_cut, row)
