"""Soft prompts on a model: virtual tokens that the model reads before the own tokens of a request.

Requests of a batch may have different numbers of virtual tokens, or none. Virtual tokens are put
to the left of the row's own tokens, and the rest of that space is padding.

B rows of a batch, L row length, V virtual tokens of the longest prompt in use, D width of embeddings.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from inspect import signature
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from lorary.errors import BaseModelError
from lorary.experts.parts.soft_prompt import MODEL
from lorary.files import say_count
from lorary.models.per_thread import PerThread
from lorary.models.positions import count_positions
from lorary.models.prompt_inputs import PromptInputs, VirtualTokens
from lorary.models.routing_context import PADDING, Call, RoutingContext
from lorary.routing import LayerRouters


class _Entered(NamedTuple):
    """A call with soft prompts."""

    opened: ExitStack
    """The contexts that end with the call."""
    length: int
    """Number of columns that the model reads; 0 if all of them are the caller's."""
    extra: int
    """Number of columns before those of the caller."""


class SoftPrompts:
    """Hooks by which a model reads the soft prompts of the experts in use.

    Args:
        prompts: place of an expert in the stacks -> its soft prompt.
        context: the state shared by all layers of the model.
    """

    def __init__(self, prompts: Mapping[int, VirtualTokens], context: RoutingContext):
        self.prompts = dict(prompts)
        self._context = context
        self._inside: PerThread[_Entered | None] = PerThread(None)
        self._most: int | None = None
        self._handles: list[RemovableHandle] = []

    def __reduce__(self) -> tuple[Any, ...]:
        # No thread is within a call of a copy of the model.
        return SoftPrompts, (self.prompts, self._context), {"_most": self._most}

    def watch(self, model: PreTrainedModel) -> Self:
        """Register the hooks on a model, if there are soft prompts."""
        if self.prompts:
            self._most = count_positions(model)
            output = model.get_output_embeddings()
            self._handles = [
                model.register_forward_pre_hook(self._enter, with_kwargs=True),
                # Before the hooks of select_positions, which count the caller's columns.
                output.register_forward_pre_hook(self._leave_out, prepend=True),
                model.register_forward_hook(self._leave, always_call=True),
            ]
        return self

    def remove(self) -> None:
        """Remove the hooks, and forget the soft prompts."""
        self.prompts = {}
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def are_used(self, call: Call, num_requests: int) -> bool:
        """Return whether a request of a call has a soft prompt.

        Raises:
            ValueError: if a soft prompt has a weight other than 1, or a request has several.
        """
        if not self.prompts or call.chooser is None or isinstance(call.chooser, LayerRouters):
            return False
        rows = torch.arange(num_requests) if call.rows is None else call.rows.unique()
        return any(place is not None for place in self._find(call, rows[rows != PADDING]))

    def _enter(
        self, model: PreTrainedModel, args: tuple[Any, ...], given: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Add the virtual tokens to a call's inputs (a forward pre-hook)."""
        call = self._context.active
        if call.chooser is None or isinstance(call.chooser, LayerRouters):
            return None
        values = {**signature(model.forward).bind_partial(*args).arguments, **given}
        ids = values.get("input_ids")
        batch = values.get("inputs_embeds") if ids is None else ids
        if batch is None or (call.rows is None and call.num_requests not in (None, len(batch))):
            return None  # the model, or its first layer with experts, raises the error
        rows = self._find_rows(call, batch)
        if rows is None:
            return None
        found = self._find(call, rows)
        if not any(place is not None for place in found):
            return None
        if torch.compiler.is_compiling():
            raise ValueError("a compiled model cannot read soft prompts: leave out compile")
        prompts = [None if place is None else self.prompts[place] for place in found]
        inputs = PromptInputs(model, values, prompts)
        if self._most is not None and inputs.num_positions > self._most:
            raise BaseModelError(
                f"the longest text has {say_count(inputs.num_positions, 'token')} with its soft prompt, but "
                f"{type(model).__name__} has {say_count(self._most, 'position')}: shorten it"
            )
        opened = ExitStack()
        opened.enter_context(self._context.own.set_to(Call(call.chooser, rows)))
        self._inside.cell.value = _Entered(opened, *inputs.added)
        return (), inputs.values

    def _leave_out(self, output: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Keep the columns of the caller only (a forward pre-hook of the output layer)."""
        entered = self._inside.cell.value
        if entered is None or args[0].dim() != 3 or args[0].shape[1] != entered.length:
            return None
        return args[0][:, entered.extra :], *args[1:]

    def _leave(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """End a call (a forward hook, which is called after an error too)."""
        entered = self._inside.cell.value
        if entered is not None:
            self._inside.cell.value = None
            entered.opened.close()

    def _find_rows(self, call: Call, batch: Tensor) -> Tensor | None:
        """Return the request of each row of a batch; None if rows hold several without soft prompts."""
        if call.rows is None:
            return torch.arange(len(batch), device=batch.device)
        if call.rows.numel() == len(batch):
            return call.rows.to(batch.device)
        if call.rows.numel() != batch.shape[:2].numel():
            return None  # refused by the first layer with experts
        rows = call.rows.view(len(batch), -1)
        owner = rows.amax(1)
        if bool(((rows == owner[:, None]) | (rows == PADDING)).all()):
            return owner.to(batch.device)
        if self.are_used(call, 0):
            raise ValueError(
                "a row with a soft prompt must be one request, found rows with several: pass each "
                "request as a separate row"
            )
        return None

    def _find(self, call: Call, rows: Tensor) -> list[int | None]:
        """Return the expert with a soft prompt that each of some requests uses, if any."""
        assert call.chooser is not None
        if not len(rows):
            return []
        choice = call.chooser.choose(MODEL, torch.zeros(len(rows), 0, device=rows.device), rows)
        if choice is None:
            return [None] * len(rows)
        return [
            self._take_one(indices, weights)
            for indices, weights in zip(choice.indices.tolist(), choice.weights.tolist(), strict=True)
        ]

    def _take_one(self, indices: list[int], weights: list[float]) -> int | None:
        shares: dict[int, float] = {}
        for index, weight in zip(indices, weights, strict=True):
            if index in self.prompts and weight:
                shares[index] = shares.get(index, 0.0) + weight
        if len(shares) > 1 or any(weight != 1 for weight in shares.values()):
            raise ValueError(
                "a soft prompt cannot be weighted or combined with another one: name one expert with a soft "
                "prompt for a request, with weight 1"
            )
        return next(iter(shares), None)
