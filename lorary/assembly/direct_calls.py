"""Calls of the ``transformers`` model itself under a request router."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import Cache, PreTrainedModel

from lorary.assembly.choosing import AUTO, STATES, Prompts, build_chooser, count_requests
from lorary.assembly.router import Router
from lorary.models import ExpertStack
from lorary.models.per_thread import PerThread
from lorary.models.routing_context import RoutingContext
from lorary.routing import Chooser


class DirectCalls:
    """Hooks by which a ``transformers`` model routes its calls and its ``generate`` as a routed model does.

    They act if the current router is a request router, and no choice was made for the call. Each row
    of the batch is then a request, whose experts are chosen from the whole of ``input_ids``. A call that
    continues with the cache of an earlier one keeps its choice.

    Args:
        context: the routing of the model's layers.
    """

    def __init__(self, context: RoutingContext):
        self._context = context
        self._entered: PerThread[Entered | None] = PerThread(None)
        # cache -> the current router and its choice, for calls that continue with the cache
        self._kept: WeakKeyDictionary[Cache, tuple[Router | None, Chooser | None]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[Any, ...]:
        # No thread is within a call of a copy of the model.
        return DirectCalls, (self._context,)

    def watch(self, model: PreTrainedModel) -> list[RemovableHandle]:
        """Register the hooks on a model, and return the handles that remove them."""
        return [
            model.register_forward_pre_hook(self.enter, with_kwargs=True),
            model.register_forward_hook(self.leave, always_call=True),
        ]

    def enter(self, model: nn.Module, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        """Choose the experts of a call, if no choice was made (a forward pre-hook).

        Raises:
            ValueError: if the inputs do not show the whole prompts.
        """
        if find_undecided(self._context.active.chooser) is not None:
            given = signature(model.forward).bind_partial(*args, **inputs).arguments
            self._choose({**given, **inputs})

    def leave(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """End the choice of a call (a forward hook, which is called after an error too)."""
        entered = self._entered.cell.value
        if entered is not None:
            self._end(entered, output)

    # A graph of the model must not contain the choice, which runs the model.
    @torch.compiler.disable
    def _choose(self, inputs: Mapping[str, Any]) -> None:
        with ExitStack() as opened:
            opened.enter_context(self._context.lock.using())
            router = find_undecided(self._context.active.chooser)
            if router is None:
                return  # another thread set another router before this one held the lock
            assert router.decider is not None
            stack, num_requests = router.decider.stack, count_requests(inputs, None)
            chosen = self._find_choice(router, stack, inputs, num_requests)
            opened.enter_context(stack.choosing(chosen, num_requests=num_requests))
            self._entered.cell.value = Entered(opened.pop_all(), router, chosen)

    def _find_choice(
        self, router: Router, stack: ExpertStack, inputs: Mapping[str, Any], num_requests: int
    ) -> Chooser | None:
        states = {name: inputs[name] for name in STATES if inputs.get(name) is not None}
        filled = [state for state in states.values() if not _is_empty(state)]
        for state in filled:
            kept = self._kept.get(state) if isinstance(state, Cache) else None
            if kept is not None and kept[0] is router:
                return kept[1]
        prompts = inputs if filled else {name: value for name, value in inputs.items() if name not in states}
        return build_chooser(stack, [AUTO] * num_requests, router, Prompts(prompts))

    @torch.compiler.disable
    def _end(self, entered: "Entered", output: Any) -> None:
        self._entered.cell.value = None
        entered.opened.close()
        for cache in _list_caches(output):
            self._kept[cache] = entered.router, entered.chosen


class Entered:
    """A call for which a router chose: the function that ends its choice, the router, and the choice."""

    def __init__(self, opened: ExitStack, router: Router | None, chosen: Chooser | None):
        self.opened = opened
        self.router = router
        self.chosen = chosen


def find_undecided(chooser: Chooser | None) -> Router | None:
    """Return the chooser if it is a router that needs the prompts of the call."""
    return chooser if isinstance(chooser, Router) and chooser.decider is not None else None


def _is_empty(state: Any) -> bool:
    """Return whether a cache has no tokens yet; a state of another class counts as filled."""
    if not isinstance(state, Cache):
        return False
    try:
        return int(state.get_seq_length()) == 0
    except ValueError:
        # All layers are recurrent.
        return not state.has_previous_state()


def _list_caches(output: Any) -> Iterator[Cache]:
    """List the caches that a model returns; none after an error."""
    values = output if isinstance(output, tuple) else [getattr(output, name, None) for name in STATES]
    return (value for value in values if isinstance(value, Cache))
