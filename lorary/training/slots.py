"""The trainable factors of experts that stand side by side in a model.

S slots, P parameters of one expert, R rank, I layer input, O layer output.
"""

import math

import torch
from torch import Tensor, nn

from lorary.experts import Factors
from lorary.models import ExpertStack


class ExpertSlots:
    """One float32 row of parameters per slot; the model's stacks and gradients are views into the rows.

    A row is an expert: it is cleared, clipped, optimised, saved and exported as one tensor, and what happens
    in one row never touches another.

    Args:
        stack: empty experts on a model, from ``attach_slots``.
    """

    def __init__(self, stack: ExpertStack):
        self.stack = stack
        layers = stack.layers.values()
        first = next(iter(layers))
        self.num_slots, self.rank, _ = first.a.shape
        self.num_parameters = sum(layer.a[0].numel() + layer.b_t[0].numel() for layer in layers)
        self.values = torch.zeros(self.num_slots, self.num_parameters, device=first.a.device)
        self.gradients = torch.zeros_like(self.values)
        self._leaves: list[tuple[nn.Parameter, Tensor]] = []
        offset = 0
        for layer in layers:
            for name in ("a", "b_t"):
                offset = self._claim(layer, name, offset)

    def _claim(self, layer: nn.Module, name: str, offset: int) -> int:
        shape = getattr(layer, name).shape
        end = offset + shape[1:].numel()
        parameter = nn.Parameter(self.values[:, offset:end].view(shape))
        setattr(layer, name, parameter)
        self._leaves.append((parameter, self.gradients[:, offset:end].view(shape)))
        return end

    def add_gradients(self, loss: Tensor) -> None:
        """Add a loss's gradients to ``gradients``."""
        # Not ``loss.backward()``: it warns of gradients laid out in rows, as these are.
        leaves = [parameter for parameter, _ in self._leaves]
        # None for a layer that no token went through, as happens in a base with its own mixture of experts.
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        for (_, gradient), new in zip(self._leaves, found, strict=True):
            if new is not None:
                gradient.add_(new)

    @torch.no_grad()
    def initialise(self, slot: int, seed: int) -> None:
        """Start a new expert: ``a`` uniform in ±1/√I as PEFT does it, ``b`` zero."""
        generator = torch.Generator().manual_seed(seed)
        self.values[slot] = 0
        for layer in self.stack.layers.values():
            _, rank, width = layer.a.shape
            noise = torch.rand(rank, width, generator=generator) * 2 - 1
            layer.a[slot] = (noise / math.sqrt(width)).to(layer.a.device)

    @torch.no_grad()
    def export(self, row: Tensor, scale: float) -> dict[str, Factors]:
        """Read a row as factors, by module path, with the scale folded into ``b``.

        Args:
            row: ``[P]``, one of ``values`` or a copy of one.
            scale: the factor before ``b @ a`` while training.
        """
        factors, offset = {}, 0
        for path, layer in self.stack.layers.items():
            parts = []
            for shape in (layer.a.shape[1:], layer.b_t.shape[1:]):
                parts.append(row[offset : offset + shape.numel()].view(shape).detach().cpu().clone())
                offset += shape.numel()
            factors[path] = Factors(parts[0], (parts[1].T * scale).contiguous())
        return factors
