"""AdamW with warm-up, schedule and clipping, for one row of parameters.

P parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lorary.files import say_count
from lorary.training.loop.schedule import learning_rate_factor
from lorary.training.progress import UnitProgress
from lorary.training.tensor_checks import find_shape_fault

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW's settings; ``start`` makes the optimiser of a row."""

    learning_rate: float
    """Peak learning rate."""
    schedule: str = "linear"
    """Decay after the warm-up, see ``learning_rate_factor``."""
    warmup_ratio: float = 0.0
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_grad_norm: float | None = None
    """Maximum norm of a row's gradient; None: no clipping."""

    def start(self, values: Tensor, num_steps: int) -> "AdamWSteps":
        """Make the optimiser of a row.

        Args:
            values: the row ``[P]``, which the optimiser changes in place.
            num_steps: number of steps of the schedule.
        """
        return AdamWSteps(self, values, num_steps)

    def find_fault(self, tensors: Mapping[str, Tensor], num_steps: int, num_parameters: int) -> str | None:
        """Describe the fault in an optimiser's saved state; None if there is none.

        Args:
            tensors: the saved state, float32, on the CPU.
            num_steps: number of steps taken.
            num_parameters: P.
        """
        shapes = {"step": [], **{key: [num_parameters] for key in MOMENTS}} if num_steps else {}
        fault = find_shape_fault(tensors, shapes)
        if fault or not num_steps:
            return fault
        if float(tensors["step"]) != num_steps:
            return (
                f"its optimiser must have taken {say_count(num_steps, 'step')}, found "
                f"{float(tensors['step']):g}"
            )
        if (tensors["exp_avg_sq"] < 0).any():
            return "its optimiser's mean squares must be at least 0, found negative ones"
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
            # The same formula as in torch.nn.utils.clip_grad_norm_.
            gradient.mul_((settings.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        factor = learning_rate_factor(
            self.num_taken, self.num_steps, settings.warmup_ratio, settings.schedule
        )
        self._adamw.param_groups[0]["lr"] = settings.learning_rate * factor
        self._parameters.grad = gradient
        self._adamw.step()
        self.num_taken += 1

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments and the number of steps; empty before the first step."""
        state = self._adamw.state.get(self._parameters, {})
        return {key: state[key] for key in sorted(state)}

    def restore(self, tensors: Mapping[str, Tensor], progress: UnitProgress) -> None:
        """Continue from a saved state; see ``Optimizer``."""
        self.num_taken = progress.step
        if tensors:
            device = self._parameters.device
            self._adamw.state[self._parameters] = {key: value.to(device) for key, value in tensors.items()}
