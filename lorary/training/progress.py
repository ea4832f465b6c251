"""The progress of one unit in plain numbers, and checks of such numbers that were read from a file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from lorary.files import escape, quote

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class UnitPlan:
    """The part of one unit's training that is known before its first step."""

    tokens: tuple[int, ...]
    """Number of tokens (input and target) of each step's batch."""
    validate_every: int | None = None
    """Steps between two validation losses; None: no validation."""
    patience: int | None = None
    """Validations without improvement that end the training; None: no early stopping."""
    validate_start: bool = False
    """Whether there is a validation before the first step too."""

    @property
    def num_steps(self) -> int:
        """Number of steps, unless training stops early."""
        return len(self.tokens)

    def is_due(self, step: int) -> bool:
        """Return whether a validation follows a step: at each interval, and at the end.

        Step 0 is the start.
        """
        if self.validate_every is None:
            return False
        if step == 0:
            return self.validate_start
        return step % self.validate_every == 0 or step >= self.num_steps

    def begin(self) -> "UnitProgress":
        """Return the progress before the first step; a plan without steps is finished."""
        return UnitProgress(is_finished=not self.tokens)


@dataclass
class UnitProgress:
    """The part of a unit's state that is plain numbers."""

    step: int = 0
    """Number of optimiser steps taken."""
    tokens: int = 0
    """Number of tokens (input and target) trained on."""
    train_curve: Curve = field(default_factory=list)
    """``(step, mean loss of the step's target tokens)``."""
    validation_curve: Curve = field(default_factory=list)
    """``(step, mean loss of the validation examples' target tokens)``."""
    best_loss: float | None = None
    """Lowest validation loss."""
    best_step: int | None = None
    """The step of the lowest validation loss."""
    num_worse: int = 0
    """Number of validations since then."""
    is_finished: bool = False
    """Whether the training has ended."""

    def record_step(self, loss: float, num_tokens: int, plan: UnitPlan) -> None:
        """Record a step; the last one of the plan ends the training."""
        self.step += 1
        self.tokens += num_tokens
        self.train_curve.append((self.step, loss))
        self.is_finished = self.step >= plan.num_steps

    def record_validation(self, loss: float, plan: UnitPlan) -> bool:
        """Record a validation loss, and end the training if patience is used up.

        Returns:
            Whether the loss is the lowest so far.
        """
        self.validation_curve.append((self.step, loss))
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step, self.num_worse = loss, self.step, 0
            return True
        self.num_worse += 1
        if plan.patience is not None and self.num_worse >= plan.patience:
            self.is_finished = True
        return False


def parse_progress(record: Mapping[str, Any], plan: UnitPlan) -> UnitProgress:
    """Parse and check a progress that was read from a file.

    All numbers follow from the plan and the losses, so contradictions are found.

    Args:
        record: a ``UnitProgress`` as a JSON object.
        plan: the unit's plan.

    Raises:
        ValueError: if a number contradicts the plan or the losses; the message names it.
    """
    known = [found.name for found in fields(UnitProgress)]
    wrong = [key for key in record if key not in known] + [key for key in known if key not in record]
    if wrong:
        raise ValueError(
            f"progress must have the keys {', '.join(known)}, but {quote(wrong[0], 60)} is unknown or missing"
        )
    train, validation = (_parse_curve(record, key) for key in ("train_curve", "validation_curve"))
    progress = _replay(plan, train, validation)
    for key in ("step", "tokens", "best_loss", "best_step", "num_worse", "is_finished"):
        expected, found = getattr(progress, key), record[key]
        if key == "best_loss" and type(found) is int:
            found = float(found)
        if type(found) is not type(expected) or found != expected:
            raise ValueError(f"{key} must be {expected!r} after these losses, found {quote(found, 60)}")
    return progress


def _parse_curve(record: Mapping[str, Any], key: str) -> Curve:
    curve = record[key]
    if not isinstance(curve, list):
        raise ValueError(f"{key} must be a list of [step, loss], found {quote(curve, 60)}")
    for point in curve:
        is_pair = isinstance(point, list) and len(point) == 2
        if not is_pair or type(point[0]) is not int or type(point[1]) not in (int, float):
            raise ValueError(f"{key} must be a list of [step, loss], found {quote(point, 60)} in it")
        if not math.isfinite(point[1]):
            raise ValueError(f"{key} must hold finite losses, found {point[1]} at step {point[0]}")
    return [(step, float(loss)) for step, loss in curve]


def _replay(plan: UnitPlan, train: Curve, validation: Curve) -> UnitProgress:
    """Compute the progress that follows from a plan and known losses."""
    _check_steps("train_curve", train, list(range(1, len(train) + 1)))
    if len(train) > plan.num_steps:
        raise ValueError(f"train_curve must end by step {plan.num_steps}, found step {len(train)}")
    due = [step for step in (0, *(step for step, _ in train)) if plan.is_due(step)]
    # A state of step 0 may have been saved before its validation.
    _check_steps("validation_curve", validation, due if train or validation else [])
    losses = dict(validation)
    progress = plan.begin()
    if 0 in losses:
        progress.record_validation(losses[0], plan)
    for (step, loss), num_tokens in zip(train, plan.tokens, strict=False):
        if progress.is_finished:
            raise ValueError(
                f"train_curve must end with early stopping at step {progress.step}, found a later step"
            )
        progress.record_step(loss, num_tokens, plan)
        if step in losses:
            progress.record_validation(losses[step], plan)
    return progress


def _check_steps(key: str, curve: Curve, expected: list[int]) -> None:
    found = [step for step, _ in curve]
    if found != expected:
        raise ValueError(
            f"{key} must have steps {escape(str(expected[:9]), longest=60)}… ({len(expected)} in all), found "
            f"{escape(str(found[:9]), longest=60)}… ({len(found)} in all)"
        )
