"""The losses of every start on every new task, before and after a short training.

S starts, N new tasks.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lorary.files import dump_json, write_whole

FRESH, BASE = "fresh", "base"
"""The controls: a new expert that is trained, and the base model without training."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One start on one task. Losses are means over the target tokens of the validation examples, in nats."""

    before: float
    """Validation loss of the start before training."""
    after: float
    """Validation loss after the training, with its last weights."""
    num_steps: int
    """Optimiser steps of the training."""
    num_tokens: int
    """Tokens (input and target) that were trained on."""


@dataclass(frozen=True, kw_only=True)
class TransferMatrix:
    """The cells of all starts and tasks."""

    starts: Mapping[str, tuple[str, ...]]
    """Start -> the experts that it is made of; none for the controls ``fresh`` and ``base``, which come
    first."""
    tasks: Mapping[str, int]
    """New task -> number of its validation examples."""
    cells: Mapping[str, Mapping[str, Cell]]
    """Start -> task -> cell."""
    settings: Mapping[str, Any]
    """The training's settings, the base model and its fingerprint, as JSON values."""

    def gains(self) -> dict[str, dict[str, float]]:
        """Return by how much each start lowers the loss after training, compared with a fresh expert.

        Returns:
            Start -> task -> ``loss of fresh - loss of the start``, nats per token; above 0 is better.
        """
        return {
            start: {task: self.cells[FRESH][task].after - cell.after for task, cell in row.items()}
            for start, row in self.cells.items()
        }

    def rank_starts(self) -> list[tuple[str, float, float | None]]:
        """Sort the starts without the controls by their mean gain over tasks.

        Returns:
            Starts with mean gain and its standard error over tasks (None for one task), the best first.
        """
        gains = self.gains()
        found = [
            (start, *_mean_and_error(list(gains[start].values())))
            for start, parts in self.starts.items()
            if parts
        ]
        return sorted(found, key=lambda row: (-row[1], row[0]))

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write all numbers as a JSON file, completely or not at all."""
        write_whole(path, dump_json(asdict(self)) + "\n")


def _mean_and_error(values: list[float]) -> tuple[float, float | None]:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, (variance / len(values)) ** 0.5
