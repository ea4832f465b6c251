"""AdamW with a warm-up, a schedule and clipping, for one row of parameters.

P parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.training.loop.schedule import learning_rate_factor
from lorary.training.progress import UnitProgress
from lorary.training.tensor_checks import find_shape_fault

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """How rows are optimised; ``start`` makes the optimiser of one."""

    learning_rate: float
    """Peak learning rate."""
    schedule: str = "linear"
    """What follows the warm-up, see ``learning_rate_factor``."""
    warmup_ratio: float = 0.0
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_grad_norm: float | None = None
    """Largest norm of a row's gradient; None does not clip."""

    def start(self, values: Tensor, num_steps: int) -> "AdamWSteps":
        """Make the optimiser of a row ``[P]``, which it changes in place, for a number of steps."""
        return AdamWSteps(self, values, num_steps)

    def find_fault(self, tensors: Mapping[str, Tensor], num_steps: int, num_parameters: int) -> str | None:
        """Say what is wrong with tensors that are to be an optimiser's state, or None.

        Args:
            tensors: float32, on the CPU.
            num_steps: how many steps it has taken.
            num_parameters: P.
        """
        shapes = {"step": [], **{key: [num_parameters] for key in MOMENTS}} if num_steps else {}
        fault = find_shape_fault(tensors, shapes)
        if fault or not num_steps:
            return fault
        if float(tensors["step"]) != num_steps:
            return f"its optimiser has taken {float(tensors['step']):g} steps, its progress says {num_steps}"
        if (tensors["exp_avg_sq"] < 0).any():
            return "its optimiser's mean squares must be at least 0, found some below"
        return None


class AdamWSteps:
    """The optimiser of one row, see ``lorary.training.loop.contract.Optimizer``."""

    def __init__(self, settings: AdamW, values: Tensor, num_steps: int):
        self.settings, self.num_steps, self.num_taken = settings, num_steps, 0
        self._parameters = torch.nn.Parameter(values)
        self._adamw = torch.optim.AdamW(
            [self._parameters], lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )

    def step(self, gradient: Tensor, loss: float) -> None:
        """Clip the gradient and take one step with it."""
        settings = self.settings
        if settings.max_grad_norm is not None:
            norm = gradient.norm()
            gradient.mul_((settings.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        factor = learning_rate_factor(
            self.num_taken, self.num_steps, settings.warmup_ratio, settings.schedule
        )
        self._adamw.param_groups[0]["lr"] = settings.learning_rate * factor
        self._parameters.grad = gradient
        self._adamw.step()
        self.num_taken += 1

    def tensors(self) -> dict[str, Tensor]:
        """Give the moments and the number of steps; nothing before the first."""
        state = self._adamw.state.get(self._parameters, {})
        return {key: state[key] for key in sorted(state)}

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Take up a state."""
        self.num_taken = progress.step
        if tensors:
            device = self._parameters.device
            self._adamw.state[self._parameters] = {key: value.to(device) for key, value in tensors.items()}
