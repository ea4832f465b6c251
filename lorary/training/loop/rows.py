"""The parameters that a run trains: one row for each slot.

S slots, P parameters of one unit.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class ParameterRows:
    """One float32 row of parameters for each slot; the model computes with views of the rows.

    A row is cleared, clipped, optimised, saved and exported as one tensor, independently of other rows.

    Args:
        num_slots: S.
        shapes: name -> shape of each part of a row, in order.
        device: of the rows.
        has_gradients: False if units are optimised without gradients.
    """

    def __init__(
        self,
        num_slots: int,
        shapes: Mapping[str, Sequence[int]],
        device: torch.device | str = "cpu",
        *,
        has_gradients: bool = True,
    ):
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self.num_slots, self.has_gradients = num_slots, has_gradients
        self.num_parameters = sum(shape.numel() for shape in self.shapes.values())
        self.values = torch.zeros(num_slots, self.num_parameters, device=device)
        self.gradients = torch.zeros_like(self.values)
        self.parts = {
            name: nn.Parameter(part, requires_grad=has_gradients)
            for name, part in self._split(self.values).items()
        }
        """Name -> this part of all rows, ``[S, *shape]``, as a view that the model computes with."""
        self._part_gradients = self._split(self.gradients)

    def _split(self, rows: Tensor) -> dict[str, Tensor]:
        """Return views of the parts of rows ``[S, P]``."""
        parts, offset = {}, 0
        for name, shape in self.shapes.items():
            parts[name] = rows[:, offset : offset + shape.numel()].view(len(rows), *shape)
            offset += shape.numel()
        return parts

    @torch.no_grad()
    def bind(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Make a model's own parameters views of the only row, which takes their values.

        Args:
            parameters: name -> float32 parameter, for all parts of a row.
        """
        for name, part in self._split(self.values).items():
            part[0].copy_(parameters[name])
            parameters[name].data = part[0]
        self.parts = dict(parameters)

    def split_row(self, row: Tensor) -> dict[str, Tensor]:
        """Return views of the parts of a row ``[P]``, by name."""
        return {name: part[0] for name, part in self._split(row[None]).items()}

    def copy_row(self, row: Tensor) -> dict[str, Tensor]:
        """Return copies on the CPU of the parts of a row ``[P]``, by name, each with its own memory."""
        return {name: part.detach().cpu().clone() for name, part in self.split_row(row).items()}

    def add_gradients(self, loss: Tensor) -> None:
        """Add a loss's gradients to ``gradients``."""
        # Not ``loss.backward()``, which warns about gradients with strides like these. A gradient is None for
        # a layer that no token passed through, as in a base model with its own mixture of experts.
        found = torch.autograd.grad(loss, list(self.parts.values()), allow_unused=True)
        for gradient, new in zip(self._part_gradients.values(), found, strict=True):
            if new is not None:
                gradient.add_(new)
