"""The contract of a synthetic task: a numbered set of examples, each built from its number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lorary.data.task import Example

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A finite, numbered set of examples. A number always gives the same example; all inputs differ."""

    definition: str
    """The task's definition, in one sentence."""
    num_examples: int
    """Number of examples; they are numbered from 0."""
    make_example: Callable[[int], Example]
    """Builds the example of a number in ``range(num_examples)``."""


def split_number(number: int, *sizes: int) -> tuple[int, ...]:
    """Split a number into one index for each size; different numbers give different combinations.

    Args:
        number: in ``range(product of sizes)``.
        sizes: number of values of each index.

    Returns:
        One index per size, ``0 <= index < size``.
    """
    indices = []
    for size in sizes:
        number, index = divmod(number, size)
        indices.append(index)
    return tuple(indices)


def pick_distinct(pool: Sequence[Item], indices: Sequence[int]) -> list[Item]:
    """Pick items one after the other, without replacement.

    Args:
        pool: the items.
        indices: index of each pick among the remaining items, so the ``i``-th is below ``len(pool) - i``.
    """
    left = list(pool)
    return [left.pop(index) for index in indices]


def split_words(text: str) -> tuple[str, ...]:
    """Split a block of words at white space, which makes long lists of words readable."""
    return tuple(text.split())
