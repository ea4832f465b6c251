"""The table of synthetic tasks, and drawing splits from them."""

from collections.abc import Iterable
from hashlib import sha256
from random import Random

from lorary.data.synthetic.call_signs import CALL_SIGNS
from lorary.data.synthetic.dates import CLOCK_TIMES, ISO_DATES
from lorary.data.synthetic.inflection import PAST_TENSE, PLURALS
from lorary.data.synthetic.initials import WORD_INITIALS
from lorary.data.synthetic.numerals import NUMBER_SORTING, NUMBER_WORDS, PRICES
from lorary.data.synthetic.people import PERSON_RECORDS, QUESTIONS
from lorary.data.synthetic.recipe import Recipe
from lorary.data.synthetic.units import METRIC_UNITS
from lorary.data.task import Task
from lorary.errors import suggest
from lorary.files import say_count

SYNTHETIC_TASKS: dict[str, Recipe] = {
    "call_signs": CALL_SIGNS,
    "clock_times": CLOCK_TIMES,
    "iso_dates": ISO_DATES,
    "metric_units": METRIC_UNITS,
    "number_sorting": NUMBER_SORTING,
    "number_words": NUMBER_WORDS,
    "past_tense": PAST_TENSE,
    "person_records": PERSON_RECORDS,
    "plurals": PLURALS,
    "prices": PRICES,
    "questions": QUESTIONS,
    "word_initials": WORD_INITIALS,
}


def generate_task(
    name: str, *, seed: int = 0, train: int = 400, validation: int = 32, test: int = 64
) -> Task:
    """Generate a task whose splits share no input; it is the same on every machine and Python version.

    Test examples are drawn first, then validation, then training examples, so that the size of the training
    split does not change the others. Another seed gives other splits, so an expert must be tested with the
    seed that it was trained with.

    Args:
        name: one of ``SYNTHETIC_TASKS``.
        seed: seed of the draw, combined with the name.
        train: number of training examples.
        validation: number of validation examples.
        test: number of test examples.

    Returns:
        A task with the splits ``train``, ``validation`` and ``test``.

    Raises:
        ValueError: if no task has that name, a number is negative, or the task has fewer examples.
    """
    if name not in SYNTHETIC_TASKS:
        raise ValueError(f"no synthetic task is named {name!r}: {suggest(name, SYNTHETIC_TASKS)}")
    recipe = SYNTHETIC_TASKS[name]
    _check_sizes(name, recipe, train, validation, test)
    # Only random() is guaranteed to give the same numbers in every version of Python.
    random = Random(int.from_bytes(sha256(f"{seed}-{name}".encode()).digest()))
    numbers = draw_numbers(random, recipe.num_examples, test + validation + train)
    examples = tuple(recipe.make_example(number) for number in numbers)
    splits = {
        "train": examples[test + validation :],
        "validation": examples[test : test + validation],
        "test": examples[:test],
    }
    return Task(name=name, splits=splits, definition=recipe.definition)


def generate_tasks(
    names: Iterable[str] | None = None,
    *,
    seed: int = 0,
    train: int = 400,
    validation: int = 32,
    test: int = 64,
) -> dict[str, Task]:
    """Generate several tasks, by default all; see ``generate_task`` for the arguments.

    Args:
        names: some of ``SYNTHETIC_TASKS``; ``None`` for all.

    Returns:
        The tasks by name, in the order of the names.

    Raises:
        ValueError: as ``generate_task`` does, or if ``names`` is one string.
    """
    if isinstance(names, str):
        raise ValueError(f"names must be a list of task names, not the string {names!r}: give [{names!r}]")
    chosen = SYNTHETIC_TASKS if names is None else names
    return {
        name: generate_task(name, seed=seed, train=train, validation=validation, test=test) for name in chosen
    }


def draw_numbers(random: Random, size: int, count: int) -> list[int]:
    """Draw ``count`` distinct numbers below ``size``, in random order; a smaller count gives a prefix."""
    # Fisher-Yates shuffle of range(size), storing only the swapped places.
    moved: dict[int, int] = {}
    drawn = []
    for place in range(count):
        other = place + int(random.random() * (size - place))
        drawn.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return drawn


def _check_sizes(name: str, recipe: Recipe, train: int, validation: int, test: int) -> None:
    for split, size in (("train", train), ("validation", validation), ("test", test)):
        if size < 0:
            raise ValueError(f"the size of the {split} split of {name!r} must be 0 or more, found {size!r}")
    total = train + validation + test
    if total > recipe.num_examples:
        raise ValueError(
            f"synthetic task {name!r} has {say_count(recipe.num_examples, 'example')}, but {total} were "
            "requested "
            f"(train {train}, validation {validation}, test {test}): request fewer"
        )
