"""What one synthetic task is made of: a numbered set of examples, each built from its number alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lorary.data.task import Example

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A finite, numbered set of examples: number ``i`` always gives the same one, and no two inputs agree."""

    definition: str
    """One sentence that tells a reader what to do with the input."""
    num_examples: int
    """How many examples there are; they are numbered from 0."""
    make_example: Callable[[int], Example]
    """Builds the example of a number in ``range(num_examples)``."""


def split_number(number: int, *sizes: int) -> tuple[int, ...]:
    """Split a number into one index per size, so that each number gives another combination.

    Args:
        number: in ``range(product of sizes)``.
        sizes: how many values each index may take.

    Returns:
        One index per size, ``0 <= index < size``.
    """
    indices = []
    for size in sizes:
        number, index = divmod(number, size)
        indices.append(index)
    return tuple(indices)


def pick_distinct(pool: Sequence[Item], indices: Sequence[int]) -> list[Item]:
    """Pick items one after the other without putting any back.

    Args:
        pool: the items.
        indices: the place of each pick among the items then left, so the ``i``-th is below ``len(pool) - i``.
    """
    left = list(pool)
    return [left.pop(index) for index in indices]


def split_words(text: str) -> tuple[str, ...]:
    """Split a block of words at its white space: the readable way to write a long list of them."""
    return tuple(text.split())
