"""Calls of a ``transformers`` model whose encoder runs before its decoder, as in its own ``generate``.

B prompts, N rows of the decoder, D width of the encoder's outputs.
"""

from contextlib import ExitStack
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from lorary.assembly.direct_calls import DirectCalls, Entered, find_undecided
from lorary.assembly.router import Router
from lorary.models.per_thread import PerThread
from lorary.models.routing_context import Call, RoutingContext
from lorary.routing import Chooser


class _Encoded(NamedTuple):
    """The last prompts that the encoder read in a thread."""

    marks: Tensor
    """The encoder's output at the first token of each prompt, ``[B, D]``; a call of the decoder with the same
    numbers belongs to these prompts."""
    router: Router | None
    """The request router that chose for them; None if another chooser was current."""
    chosen: Chooser | None
    """Its choice."""


class EncoderCalls(DirectCalls):
    """Hooks as ``DirectCalls``, also on the encoder, which ``generate`` runs before the model.

    A call of the decoder uses the choice for the encoder's prompts. If each prompt has several rows
    of the decoder, as beams have, each row is a row of its prompt's request.

    Args:
        context: the routing of the model's layers.
    """

    def __init__(self, context: RoutingContext):
        super().__init__(context)
        self._encoded: PerThread[_Encoded | None] = PerThread(None)
        self._is_in_encoder: PerThread[bool] = PerThread(False)

    def __reduce__(self) -> tuple[Any, ...]:
        # No thread is within a call of a copy of the model.
        return EncoderCalls, (self._context,)

    def watch(self, model: PreTrainedModel) -> list[RemovableHandle]:
        """Register the hooks on a model and its encoder, and return the handles that remove them."""
        encoder = model.get_encoder()
        return [
            *super().watch(model),
            encoder.register_forward_pre_hook(self._enter_encoder, with_kwargs=True),
            encoder.register_forward_hook(self._leave_encoder, always_call=True),
        ]

    def enter(self, model: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        """Choose the experts of a call, if no choice was made, or use those of the encoder's prompts.

        Raises:
            ValueError: if a router needs the prompts, and neither the inputs nor the encoder's last call in
                this thread shows them.
        """
        if self._context.active.chooser is None:
            return
        given = {**signature(model.forward).bind_partial(*args, **inputs).arguments, **inputs}
        if given.get("encoder_outputs") is None:
            super().enter(model, args, inputs)
        else:
            self._go_on(given["encoder_outputs"][0])

    # A graph of the model must not contain the choice.
    @torch.compiler.disable
    def _go_on(self, states: Tensor) -> None:
        """Use the choice for the prompts whose encoder outputs ``[N, L, D]`` a call of the decoder has."""
        active = self._context.active
        router = find_undecided(active.chooser)
        if router is None and active.num_requests in (None, len(states)):
            return
        encoded = self._encoded.cell.value
        repeats = None if encoded is None else _count_repeats(encoded.marks, states)
        if encoded is None or repeats is None or encoded.router is not router:
            if router is None:
                return  # the layers refuse the size of this batch
            raise ValueError(
                "a request router needs the prompts of a call: pass input_ids, or as "
                "encoder_outputs those of the encoder's last call in this thread"
            )
        rows = torch.arange(len(encoded.marks), device=states.device).repeat_interleave(repeats)
        chosen = active.chooser if router is None else encoded.chosen
        with ExitStack() as opened:
            opened.enter_context(self._context.lock.using())
            opened.enter_context(self._context.own.set_to(Call(chosen, rows)))
            self._entered.cell.value = Entered(opened.pop_all(), router, chosen)

    def _enter_encoder(self, encoder: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        if find_undecided(self._context.active.chooser) is not None:
            given = signature(encoder.forward).bind_partial(*args, **inputs).arguments
            self._choose({**given, **inputs})
            # Another thread may have set a router that needs no choice.
            self._is_in_encoder.cell.value = self._entered.cell.value is not None

    def _leave_encoder(self, encoder: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        entered = self._entered.cell.value
        if self._context.active.chooser is not None and output is not None:
            router, chosen = (None, None) if entered is None else (entered.router, entered.chosen)
            self._encoded.cell.value = _Encoded(output[0][:, 0].detach().clone(), router, chosen)
        # A choice for a call of the whole model ends with that call.
        if self._is_in_encoder.cell.value and entered is not None:
            self._is_in_encoder.cell.value = False
            self._end(entered, output)


def _count_repeats(marks: Tensor, states: Tensor) -> int | None:
    """Return how many rows of a decoder each prompt has; None if these are other prompts.

    Args:
        marks: of the prompts, ``[B, D]``.
        states: the encoder's outputs that the decoder reads, ``[N, L, D]``; ``generate`` repeats each row.
    """
    repeats, rest = divmod(len(states), len(marks))
    if rest or not repeats or states.shape[-1] != marks.shape[-1]:
        return None
    found = states[:, 0].unflatten(0, (len(marks), repeats))
    return repeats if torch.equal(found, marks[:, None].expand_as(found)) else None
