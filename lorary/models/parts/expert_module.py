"""A module with parts of experts that is not a linear layer, such as an embedding or a norm.

T tokens, O module output.
"""

import inspect
from typing import Any

from torch import Tensor, nn

from lorary.models.parts.placed_parts import PlacedParts
from lorary.models.routing_context import RoutingContext


class ExpertModule(nn.Module):
    """A base module with the changes by experts; without a chooser its output is that of the base module.

    Args:
        base: the base module; it is not changed.
        parts: the experts' parts there.
        context: the state shared by all layers of the model.
        path: the module's path, which is passed to choosers.
    """

    base: nn.Module
    parts: PlacedParts

    def __init__(self, base: nn.Module, parts: PlacedParts, context: RoutingContext, path: str):
        super().__init__()
        self.base = base
        self.parts = parts
        self.path = path
        self._context = context

    def __getattr__(self, name: str) -> Any:
        """Return the base module's attribute, because models read some, such as an embedding's weight."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Apply base module and parts."""
        y: Tensor = self.base(*inputs, **named)
        call = self._context.active
        if call.chooser is None:
            return y
        choice = call.chooser.choose(self.path, y.reshape(-1, y.shape[-1]), call.rows_of(y))
        if choice is None:
            return y
        if named:
            # Parts get positional arguments only; a norm may get its gate by name.
            inputs = inspect.signature(self.base.forward).bind(*inputs, **named).args
        return self.parts(self.base, inputs, y, y, choice)
