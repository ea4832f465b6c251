"""The current router of a model: the default for all threads, or that of a context or a call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from lorary.assembly.choosing import (
    AUTO,
    ExpertChoice,
    Prompts,
    build_chooser,
    count_requests,
    find_row_requests,
    spread_choices,
)
from lorary.assembly.router import Router, build_router, complete_config
from lorary.facts.known import Facts
from lorary.models import ExpertStack
from lorary.models.architecture import is_encoder_decoder
from lorary.routing import Chooser, RouterConfig


class CurrentRouter:
    """The router of a model, for all threads and for each thread.

    Args:
        facts: the model's experts, and the facts from which routers are built.
    """

    def __init__(self, facts: Facts):
        self._facts = facts
        self._default = Router(None, None, "outputs", dict.fromkeys(facts.stack.layers), facts.stack)

    @property
    def chooser(self) -> Chooser | None:
        """The chooser of this thread's calls, unless they name another."""
        return self._stack.context.active.chooser

    @property
    def router(self) -> Router:
        """The current router in this thread, also where experts are assigned."""
        chooser = self.chooser
        return chooser if isinstance(chooser, Router) else self._default

    @property
    def settings(self) -> tuple[str | None, RouterConfig | None, str]:
        """The current router's name, its options and how experts are combined."""
        router = self.router
        return router.name, router.options, router.combine

    def set(self, name: str | None, options: RouterConfig | None, combine: str) -> None:
        """Set the default router of all threads, see ``RoutedModel.set_router``."""
        with self._stack.context.lock.changing("set a router"):
            self._default = build_router(name, options, combine, self._facts)
            self._stack.set_default(None if name is None else self._default)

    def set_again(self) -> None:
        """Build the current router for the experts that the model has now."""
        self.set(*self.settings)

    def check(self, names: Sequence[str]) -> None:
        """Check that the current router could choose among these experts.

        Raises:
            ValueError: if its options do not suit them, or it needs a fact of one that must be given.
        """
        name, options, _ = self.settings
        if name is not None:
            self._facts.check(complete_config(name, options, names).needs, names)

    @contextmanager
    def routed(self, name: str | None, options: RouterConfig | None, combine: str) -> Iterator[None]:
        """Within this context another router is the default, in this thread."""
        with self._stack.in_use():
            chosen = build_router(name, options, combine, self._facts)
            with self._stack.choosing(chosen):
                yield

    @contextmanager
    def assigned(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within this context each sequence of a batch uses the expert named for it, in this thread."""
        # Another thread that changes the experts would replace the stack in the meantime.
        with self._stack.in_use(), self._stack.assign(names):
            yield

    @contextmanager
    def choosing(
        self,
        experts: ExpertChoice | Sequence[ExpertChoice],
        inputs: Mapping[str, Any],
        rows: Tensor | None = None,
    ) -> Iterator[None]:
        """Within this context each request of a call uses the experts chosen for it.

        Args:
            experts: the choice for each request, or for all.
            inputs: the model's keyword arguments.
            rows: the request of each token; None means that each row of the batch is one request.
        """
        stack, active = self._stack, self._stack.context.active
        decides = isinstance(active.chooser, Router) and active.chooser.decider is not None
        if experts == AUTO and not decides:
            chooser, num_requests = active.chooser, active.num_requests
            rows = active.rows if rows is None else rows
        else:
            num_requests = count_requests(inputs, rows)
            choices = spread_choices(experts, num_requests)
            chooser = build_chooser(stack, choices, active.chooser, Prompts(inputs, rows))
        if rows is not None and is_encoder_decoder(stack.model):
            rows = find_row_requests(rows)
        with stack.choosing(chooser, rows, num_requests if rows is None else None):
            yield

    @property
    def _stack(self) -> ExpertStack:
        return self._facts.stack
