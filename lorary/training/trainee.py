"""One expert in training: its place, its optimiser, its plan and how far it has come."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lorary.data.tokens import TokenizedExample
from lorary.files import quote
from lorary.training.config import TrainConfig
from lorary.training.examples import TrainingExamples
from lorary.training.progress import Plan, Progress
from lorary.training.schedule import learning_rate_factor, plan_batches, seed_for
from lorary.training.slots import ExpertSlots

MOMENTS = ("exp_avg", "exp_avg_sq")


def plan_trainee(name: str, examples: TrainingExamples, config: TrainConfig) -> list[list[int]]:
    """Lay out all of one expert's batches, as indices of its training examples."""
    return plan_batches(
        [len(example) for example in examples.train],
        config.batch_size,
        seed=seed_for(config.seed, name),
        epochs=config.epochs,
        max_steps=config.max_steps,
        max_tokens=config.max_tokens,
    )


def outline_training(batches: list[list[int]], examples: TrainingExamples, config: TrainConfig) -> Plan:
    """Say what of one expert's training is settled by its batches, from ``plan_trainee``."""
    lengths = [len(example) for example in examples.train]
    return Plan(
        tuple(sum(lengths[index] for index in batch) for batch in batches),
        config.validate_every if examples.validation else None,
        config.patience,
    )


class Trainee:
    """One expert in one slot, with its own optimiser state, schedule, clipping, step count and early stop.

    Args:
        name: the expert's.
        examples: what it learns from.
        slots: the parameters.
        slot: which of them are its own.
        config: the run's configuration.
    """

    def __init__(
        self, name: str, examples: TrainingExamples, slots: ExpertSlots, slot: int, config: TrainConfig
    ):
        self.name, self.examples, self.slots, self.slot, self.config = name, examples, slots, slot, config
        self.progress = Progress()
        self.best_values: Tensor | None = None
        slots.initialise(slot, seed_for(config.seed, "" if config.same_start else name))
        self._parameters = torch.nn.Parameter(slots.values[slot])
        self.optimizer = torch.optim.AdamW(
            [self._parameters], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.batches = plan_trainee(name, examples, config)
        self.plan = outline_training(self.batches, examples, config)

    def next_batch(self) -> list[TokenizedExample]:
        """Give the examples of the step about to be taken."""
        return [self.examples.train[index] for index in self.batches[self.progress.step]]

    def step(self) -> None:
        """Clip the slot's gradient, take one optimiser step with it and clear it."""
        gradient = self.slots.gradients[self.slot]
        if self.config.max_grad_norm is not None:
            norm = gradient.norm()
            gradient.mul_((self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        factor = learning_rate_factor(
            self.progress.step, len(self.batches), self.config.warmup_ratio, self.config.schedule
        )
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * factor
        self._parameters.grad = gradient
        self.optimizer.step()
        gradient.zero_()

    def record_step(self, loss: float, num_tokens: int) -> None:
        """Note a step that was taken; the last one of the plan finishes the expert."""
        self.progress.record_step(loss, num_tokens, self.plan)

    def is_due(self) -> bool:
        """Tell whether to validate now: at the interval, and at the end."""
        return self.plan.is_due(self.progress.step)

    def record_validation(self, loss: float) -> None:
        """Note a validation loss: keep the best weights so far, stop if patience is at an end."""
        if self.progress.record_validation(loss, self.plan):
            self.best_values = self.slots.values[self.slot].detach().clone()

    def final_values(self) -> Tensor:
        """Give the parameters to keep, ``[P]``: the best validated ones, or the last."""
        return self.slots.values[self.slot] if self.best_values is None else self.best_values

    def tensors(self) -> dict[str, Tensor]:
        """Give what of the state is tensors, to be saved."""
        state = self.optimizer.state.get(self._parameters, {})
        saved = {"values": self.slots.values[self.slot], **{key: state[key] for key in sorted(state)}}
        if self.best_values is not None:
            saved["best_values"] = self.best_values
        return {key: value.detach().cpu().clone() for key, value in saved.items()}

    def restore(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        """Take up a saved state."""
        device = self.slots.values.device
        with torch.no_grad():
            self.slots.values[self.slot] = tensors["values"].to(device)
        state = {
            key: value.to(device) for key, value in tensors.items() if key not in ("values", "best_values")
        }
        if state:
            self.optimizer.state[self._parameters] = state
        self.best_values = tensors["best_values"].to(device) if "best_values" in tensors else None
        self.progress = progress


def find_state_fault(tensors: Mapping[str, Tensor], progress: Progress, num_parameters: int) -> str | None:
    """Say what is wrong with tensors that are to be a trainee's state, or None.

    Args:
        tensors: float32, on the CPU.
        progress: what the trainee had done by then.
        num_parameters: P, of one expert.
    """
    shapes = {"values": [num_parameters]}
    if progress.step:
        shapes |= {"step": [], **{key: [num_parameters] for key in MOMENTS}}
    if progress.best_step is not None:
        shapes["best_values"] = [num_parameters]
    for key in sorted(tensors.keys() | shapes.keys()):
        found = list(tensors[key].shape) if key in tensors else "none"
        expected = shapes.get(key, "none")
        if found != expected:
            return f"tensor {quote(key, 60)} must have shape {expected}, found {quote(found, 60)}"
        if not tensors[key].isfinite().all():
            return f"tensor {key!r} must hold finite numbers, found NaN or infinite ones"
    if progress.step and float(tensors["step"]) != progress.step:
        return f"its optimiser has taken {float(tensors['step']):g} steps, its progress says {progress.step}"
    if progress.step and (tensors["exp_avg_sq"] < 0).any():
        return "its optimiser's mean squares must be at least 0, found some below"
    return None
