"""Splits by content hash: the same input is never in two splits, in this task or in any other.

The split of an example depends on its own text only. So adding or reordering rows moves no example from train
to test, and neither does another task with the same inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lorary.data.content import hash_fraction, hash_input
from lorary.data.task import SPLIT_NAMES, Example


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Fractions and maximum sizes of splits."""

    train: float = 0.8
    """Fraction of inputs for training."""
    validation: float = 0.1
    """Fraction of inputs for early stopping and the choice of a checkpoint."""
    test: float = 0.1
    """Fraction of inputs for reported results."""
    max_train: int | None = None
    """Maximum number of training examples; others are left out, not moved to another split."""
    max_validation: int | None = None
    """Maximum number of validation examples; others are left out, not moved to another split."""
    max_test: int | None = None
    """Maximum number of test examples; others are left out, not moved to another split."""

    def __post_init__(self) -> None:
        fractions = (self.train, self.validation, self.test)
        faults = []
        if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
            faults.append(f"train, validation and test must be 0 or more and sum to 1, not {fractions!r}")
        for name in SPLIT_NAMES:
            if (limit := self.limit_of(name)) is not None and limit < 0:
                faults.append(f"max_{name} must be 0 or more, or None, not {limit!r}")
        if faults:
            raise ValueError("; ".join(faults))

    def limit_of(self, split: str) -> int | None:
        """Return the maximum size of a split; None if it has none."""
        return {"train": self.max_train, "validation": self.max_validation, "test": self.max_test}[split]


def split_examples(
    examples: Sequence[Example], config: SplitConfig | None = None
) -> dict[str, tuple[Example, ...]]:
    """Divide ``examples`` into train, validation and test by the hash of their input.

    Returns:
        The three splits, each in the given order. With few examples, a split may be empty.
    """
    config = config or SplitConfig()
    dealt: dict[str, list[Example]] = {name: [] for name in SPLIT_NAMES}
    for example in examples:
        dealt[_choose_split(hash_fraction(hash_input(example)), config)].append(example)
    return cap_splits(dealt, config)


def cap_splits(
    splits: Mapping[str, Sequence[Example]], config: SplitConfig
) -> dict[str, tuple[Example, ...]]:
    """Reduce each split to its maximum size; the examples are chosen by content hash."""
    return {name: _cap_examples(splits.get(name, ()), config.limit_of(name)) for name in SPLIT_NAMES}


def drop_duplicates(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Return the examples without repetitions; the first of each is kept."""
    return tuple(dict.fromkeys(examples))


def drop_overlap(splits: Mapping[str, Sequence[Example]]) -> dict[str, tuple[Example, ...]]:
    """Drop examples whose input occurs in a later split, in the order train, validation, test."""
    seen: set[str] = set()
    kept: dict[str, tuple[Example, ...]] = {}
    for name in reversed(SPLIT_NAMES):
        asked = [(hash_input(example), example) for example in splits.get(name, ())]
        kept[name] = tuple(example for digest, example in asked if digest not in seen)
        seen.update(digest for digest, _ in asked)
    return {name: kept[name] for name in SPLIT_NAMES}


def _choose_split(fraction: float, config: SplitConfig) -> str:
    if fraction < config.train:
        return "train"
    return "validation" if fraction < config.train + config.validation else "test"


def _cap_examples(examples: Sequence[Example], limit: int | None) -> tuple[Example, ...]:
    """Return the ``limit`` examples with the smallest hashes, in the given order."""
    if limit is None or len(examples) <= limit:
        return tuple(examples)
    digests = [hash_input(example) for example in examples]
    chosen = sorted(range(len(examples)), key=lambda index: (digests[index], index))[:limit]
    return tuple(examples[index] for index in sorted(chosen))
