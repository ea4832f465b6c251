"""Optimising parameters without gradients, by nevergrad: it proposes candidates and receives their losses.

P parameters.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lorary.training.progress import UnitProgress

Weights = NDArray[np.float64]


class WeightSearch:
    """An ``Optimizer`` of the loop: a step scores the row's values, and writes the next candidate there.

    The first values are zeros, the others NGOpt's candidates. After the last step the row has the best
    values.

    Args:
        values: the row, ``[P]``, which is changed in place.
        num_steps: number of candidates.
        limit: values are between -limit and limit.
        penalty: factor of the values' mean absolute value, which is added to the loss.
        seed: of the search.
    """

    def __init__(self, values: Tensor, num_steps: int, *, limit: float, penalty: float, seed: int):
        self._values, self._num_steps, self._penalty = values, num_steps, penalty
        self._num_tried = 0
        self._tried: Weights = np.zeros(len(values))
        self._candidate: Any = None
        self._optimizer = _start_optimizer(len(values), num_steps - 1, limit, seed)
        self.best: Weights = self._tried
        """The values with the lowest score, float64."""
        self.best_loss = float("inf")
        """The loss of ``best``, without the penalty."""
        self._best_score = float("inf")
        self._put(self._tried)

    def step(self, gradient: Tensor, loss: float) -> None:
        """Pass the loss of the row's values to the search, and write the next candidate into the row."""
        score = loss + self._penalty * float(np.abs(self._tried).mean())
        if score < self._best_score:
            self.best, self.best_loss, self._best_score = self._tried, loss, score
        with _quiet():
            if self._candidate is not None:
                self._optimizer.tell(self._candidate, score)
            self._num_tried += 1
            if self._num_tried < self._num_steps:
                self._candidate = self._optimizer.ask()
                self._tried = np.array(self._candidate.value)
        self._put(self._tried if self._num_tried < self._num_steps else self.best)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing, since all of its state follows from the seed and the losses."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Repeat the steps with their known losses."""
        for _, loss in progress.train_curve:
            self.step(self._values, loss)

    def _put(self, values: Weights) -> None:
        self._values.copy_(torch.from_numpy(values))


def _start_optimizer(size: int, budget: int, limit: float, seed: int) -> Any:
    # Imported here, because it is slow and needed for this search only.
    import nevergrad

    with _quiet():
        space = nevergrad.p.Array(init=np.zeros(size)).set_bounds(-limit, limit)
        space.random_state.seed(seed)
        return nevergrad.optimizers.NGOpt(parametrization=space, budget=max(1, budget))


@contextmanager
def _quiet() -> Iterator[None]:
    """Within this context, suppress warnings about the search's settings, which users cannot change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
