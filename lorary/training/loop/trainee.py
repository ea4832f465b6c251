"""One unit in training: its slot, optimiser, plan and progress."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lorary.data import TokenizedExample
from lorary.experts.seeds import seed_for
from lorary.training.examples import TrainingExamples
from lorary.training.loop.contract import Objective
from lorary.training.loop.schedule import plan_batches
from lorary.training.loop.settings import LoopSettings
from lorary.training.progress import UnitPlan, UnitProgress
from lorary.training.tensor_checks import find_shape_fault

VALUES, BEST_VALUES = "values", "best_values"


def plan_unit(name: str, examples: TrainingExamples, settings: LoopSettings) -> list[list[int]]:
    """Plan all batches of one unit, as indices of its training examples.

    Tokens that were used before, see ``TrainingExamples.spent_tokens``, shorten the plan, so that the sum is
    at most that of the whole plan.
    """
    lengths = [len(example) for example in examples.train]

    def plan(max_tokens: int | None) -> list[list[int]]:
        return plan_batches(
            lengths,
            settings.batch_size,
            seed=seed_for(settings.seed, examples.order or name),
            epochs=settings.epochs,
            max_steps=settings.max_steps,
            max_tokens=max_tokens,
        )

    def count(batches: list[list[int]]) -> int:
        return sum(lengths[index] for batch in batches for index in batch)

    batches = plan(settings.max_tokens)
    if not examples.spent_tokens:
        return batches
    left = count(batches) - examples.spent_tokens
    shorter = plan(left) if left > 0 else []
    return shorter if count(shorter) <= left else []


def outline_unit(batches: list[list[int]], examples: TrainingExamples, settings: LoopSettings) -> UnitPlan:
    """Return the plan that follows from a unit's batches, which are those of ``plan_unit``."""
    lengths = [len(example) for example in examples.train]
    return UnitPlan(
        tuple(sum(lengths[index] for index in batch) for batch in batches),
        settings.validate_every if examples.validation else None,
        settings.patience,
        settings.validate_start,
    )


class Trainee:
    """One unit in one slot, with its own optimiser, plan, step count and early stopping.

    Args:
        name: the unit's name.
        examples: its examples.
        objective: the objective.
        slot: index of its row of parameters.
        settings: the loop's settings.
    """

    def __init__(
        self,
        name: str,
        examples: TrainingExamples,
        objective: Objective[Any],
        slot: int,
        settings: LoopSettings,
    ):
        self.name, self.examples, self.slot = name, examples, slot
        self.best_values: Tensor | None = None
        self.batches = plan_unit(name, examples, settings)
        self.plan = outline_unit(self.batches, examples, settings)
        self.progress = self.plan.begin()
        self._rows = objective.rows
        self.optimizer = objective.start(name, slot, len(self.batches))

    def next_batch(self) -> list[TokenizedExample]:
        """Return the examples of the step about to be taken."""
        return [self.examples.train[index] for index in self.batches[self.progress.step]]

    def step(self, loss: float) -> None:
        """Take one step with the slot's gradient, clear it, and record the loss of the step's batch."""
        gradient = self._rows.gradients[self.slot]
        self.optimizer.step(gradient, loss)
        gradient.zero_()
        self.progress.record_step(loss, self.plan.tokens[self.progress.step], self.plan)

    def is_due(self) -> bool:
        """Return whether a validation is due: at each interval, and at the end; at the start if asked for."""
        validated = self.progress.validation_curve
        is_new = not validated or validated[-1][0] < self.progress.step
        return is_new and self.plan.is_due(self.progress.step)

    def record_validation(self, loss: float) -> None:
        """Record a validation loss: keep the values if they are the best so far, or stop early."""
        if self.progress.record_validation(loss, self.plan):
            self.best_values = self._rows.values[self.slot].detach().clone()

    def final_values(self) -> Tensor:
        """Return the resulting parameters, ``[P]``: the best validated ones, or the last."""
        return self._rows.values[self.slot] if self.best_values is None else self.best_values

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the state that is saved, as copies on the CPU."""
        saved = {VALUES: self._rows.values[self.slot], **self.optimizer.tensors()}
        if self.best_values is not None:
            saved[BEST_VALUES] = self.best_values
        return {key: value.detach().cpu().clone() for key, value in saved.items()}

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Continue from a saved state."""
        device = self._rows.values.device
        self.optimizer.restore(_leave_out_values(tensors), progress)
        with torch.no_grad():
            self._rows.values[self.slot] = tensors[VALUES].to(device)
        self.best_values = tensors[BEST_VALUES].to(device) if BEST_VALUES in tensors else None
        self.progress = progress


def find_state_fault(
    tensors: Mapping[str, Tensor], progress: UnitProgress, objective: Objective[Any]
) -> str | None:
    """Describe the fault in a unit's saved tensors; None if there is none.

    Args:
        tensors: the saved tensors, float32, on the CPU.
        progress: the unit's progress at that time.
        objective: the objective.
    """
    names = [VALUES] if progress.best_step is None else [VALUES, BEST_VALUES]
    found = {key: value for key, value in tensors.items() if key in (VALUES, BEST_VALUES)}
    return find_shape_fault(
        found, {name: [objective.rows.num_parameters] for name in names}
    ) or objective.find_optimizer_fault(_leave_out_values(tensors), progress.step)


def _leave_out_values(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if key not in (VALUES, BEST_VALUES)}
