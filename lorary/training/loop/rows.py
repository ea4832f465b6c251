"""The parameters that a run trains: one row for each slot.

S slots, P parameters of one unit.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class ParameterRows:
    """One float32 row of parameters per slot; what a model computes with are views into the rows.

    A row is a unit: it is cleared, clipped, optimised, saved and exported as one tensor, and what happens
    in one row never touches another.

    Args:
        num_slots: S.
        shapes: name -> shape of the part of a row that goes by it; the parts lie in this order.
        device: where the rows are.
        has_gradients: False where units are found without gradients.
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
        """Name -> that part of all rows, ``[S, *shape]``: a view, for a model to compute with."""
        self._part_gradients = self._split(self.gradients)

    def _split(self, rows: Tensor) -> dict[str, Tensor]:
        """View rows ``[S, P]`` as their parts."""
        parts, offset = {}, 0
        for name, shape in self.shapes.items():
            parts[name] = rows[:, offset : offset + shape.numel()].view(len(rows), *shape)
            offset += shape.numel()
        return parts

    def split_row(self, row: Tensor) -> dict[str, Tensor]:
        """View a row ``[P]``, one of ``values`` or a copy of one, as its parts, by name."""
        return {name: part[0] for name, part in self._split(row[None]).items()}

    def add_gradients(self, loss: Tensor) -> None:
        """Add a loss's gradients to ``gradients``."""
        # Not ``loss.backward()``: it warns of gradients laid out in rows, as these are.
        # None for a layer that no token went through, as happens in a base with its own mixture of experts.
        found = torch.autograd.grad(loss, list(self.parts.values()), allow_unused=True)
        for gradient, new in zip(self._part_gradients.values(), found, strict=True):
            if new is not None:
                gradient.add_(new)
