"""A base model with experts and a router.

N rows, I layer input, D width of embeddings.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from torch import Tensor

from lorary.assembly.asked_model import AskedModel
from lorary.assembly.current_router import CurrentRouter
from lorary.assembly.deciding import RequestDecider
from lorary.assembly.direct_calls import DirectCalls
from lorary.assembly.encoder_calls import EncoderCalls
from lorary.assembly.growing import add_expert, remove_expert
from lorary.assembly.held_model import HeldModel
from lorary.assembly.moved_model import MovedModel
from lorary.assembly.notebook import draw_model
from lorary.assembly.router import Router, build_router
from lorary.assembly.save import save_model
from lorary.assembly.tasks import MEAN, PREFIX, list_tasks
from lorary.experts import Expert
from lorary.experts.skills import SkillSet
from lorary.facts.encoder import Encoder
from lorary.facts.fact import OnWork
from lorary.facts.given import join_given
from lorary.facts.known import Facts
from lorary.files import quote, say_count
from lorary.models import BaseModel, ExpertStack
from lorary.routing import RouterConfig, configure_router


class RoutedModel(AskedModel, MovedModel, HeldModel):
    """A base model with experts and a router; made by ``load_model``.

    Threads may share a model. ``assign`` and ``routed`` apply to the thread that enters them. ``set_router``,
    ``add_expert``, ``remove_expert``, ``to`` and ``detach`` apply to all threads, and wait until no other
    thread is in a call or a context. So a thread inside a context must not wait for another thread that uses
    the model.

    Args:
        base: the base model, with the experts attached.
        stack: all experts on the model.
        experts: the experts that a router may choose, first in the stack; the rest are controls, which are
            used by name only.
        skills: the skills whose tasks have experts in the stack, see ``lorary.assembly.tasks``; None for no
            tasks.
        on_progress: see ``load_model``.
    """

    def __init__(
        self,
        base: BaseModel,
        stack: ExpertStack,
        experts: Mapping[str, Expert],
        skills: SkillSet | None = None,
        on_progress: OnWork | None = None,
    ):
        super().__init__(base)
        self.skills = skills
        self.facts = Facts(base, stack, experts, on_progress)
        self._current = CurrentRouter(self.facts)
        calls = EncoderCalls if base.is_encoder_decoder else DirectCalls
        self._hooks = calls(stack.context).watch(base.model)
        self._compiled = threading.RLock()

    def __repr__(self) -> str:
        router = f"router {self.routing[0]}" if self.routing[0] else "no router"
        return f"<RoutedModel {quote(self.base.name)} with {say_count(len(self.names), 'expert')}, {router}>"

    def _repr_html_(self) -> str:
        return draw_model(self)

    @property
    def stack(self) -> ExpertStack:
        """All experts on the model; a new object after an expert was added or removed."""
        return self.facts.stack

    @property
    def names(self) -> tuple[str, ...]:
        """The experts that a router may choose."""
        return self.facts.names

    @property
    def controls(self) -> tuple[str, ...]:
        """The experts that are used by name only; those of tasks are not listed."""
        of_tasks = {MEAN, *(f"{PREFIX}{task}" for task in self.tasks)}
        return tuple(name for name in self.facts.controls if name not in of_tasks)

    @property
    def general(self) -> str | None:
        """The model's general expert; None if it has none.

        It is always active for the experts that build on it, see ``ExpertCard.on_top_of``. If none
        does, routers may fall back on it.
        """
        return None if self.facts.general is None else self.facts.general.name

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the model's skills, which ``experts={"task": name}`` uses."""
        return list_tasks(self.stack.names)

    @property
    def decider(self) -> RequestDecider | None:
        """The current router's decider if it is a request router, otherwise None."""
        return self._current.router.decider

    @property
    def routing(self) -> tuple[str | None, RouterConfig | None, str]:
        """The current router, its options and how experts are combined."""
        return self._current.settings

    def router(self, name: str | None, *, combine: str = "outputs", **options: Any) -> Router:
        """Build a router for these experts, as an argument of calls: ``generate(…, experts=router)``.

        Args:
            name: a key of ``ROUTERS``; None for the base model alone.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.
            options: of the router: the fields of its configuration.

        Raises:
            ValueError: if there is no such router or option, an option does not suit the experts, or the
                router needs a fact that was not given with ``provide``.
        """
        config = None if name is None else configure_router(name, options)
        with self.stack.in_use():
            return build_router(name, config, combine, self.facts)

    def set_router(
        self, router: str | None, options: RouterConfig | None = None, combine: str = "outputs"
    ) -> None:
        """Set the default router of all threads; nothing is reloaded.

        Args:
            router: a key of ``ROUTERS``; None for the base model alone.
            options: the router's configuration (``ArrowConfig`` for ``"arrow"``); None takes its defaults.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.

        Raises:
            ValueError: if the router or ``combine`` is unknown, the options are another router's or do not
                suit the experts, the router needs a fact that was not given with ``provide``, or this thread
                is within ``assign`` or ``routed``.
        """
        self._current.set(router, options, combine)

    def provide(
        self,
        facts: Mapping[str, Mapping[str, Tensor]] | None = None,
        *,
        names: Sequence[str] | None = None,
        encoder: Encoder | None = None,
        **named: Mapping[str, Tensor] | None,
    ) -> None:
        """Give facts from examples of tasks that some routers need; each is kept until its expert is removed.

        Args:
            facts: facts by name in ``FACTS``. Facts of layers, such as ``"means"`` and ``"gates"``: module
                path -> ``[N, I]``. Facts of the output, such as ``"embeddings"``: expert -> its examples'
                ``[N, D]``.
            names: the experts of the rows, for facts of layers; None means all that a router may choose.
            encoder: the encoder of the embeddings, texts -> ``[N, D]``; None means the base model.
            named: further facts by name, such as ``means=…``.

        Raises:
            ValueError: if there is no such fact, a path or shape does not fit this model, or an encoder is
                given without embeddings.
            UnknownExpert: if a name is not on this model.
        """
        given = join_given(facts or {}, named)
        with self.stack.in_use(), self.facts.lock:
            self.facts.give(given, self.names if names is None else names, encoder)

    def add_expert(self, expert: Expert, *, trust_base: bool = False) -> None:
        """Add an expert that the router may choose; nothing else is reloaded.

        The stacks grow by one, and only the new expert's facts are computed. The current router is kept, with
        its options. ``trust_base`` accepts an expert for another base model, with a warning.

        Raises:
            ValueError: if this thread is within ``assign`` or ``routed``, if the router's options do not suit
                the new experts, or if the router needs a fact of the new expert that must be given.
            IncompatibleExpert: if the name is taken, or the expert is for another base model.
        """
        add_expert(self.facts, self._current, expert, trust_base)

    def remove_expert(self, name: str) -> None:
        """Remove an expert from the model; the current router is kept, with its options.

        Raises:
            ValueError: if this thread is within ``assign`` or ``routed``, if the expert is the last one, or
                if the router's options do not suit the others.
            UnknownExpert: if no expert that a router may choose has this name.
        """
        remove_expert(self.facts, self._current, name)

    def routed(
        self, router: str | None, options: RouterConfig | None = None, combine: str = "outputs"
    ) -> AbstractContextManager[None]:
        """Within this context another router is the default, in this thread; see ``set_router``."""
        return self._current.routed(router, options, combine)

    def assign(self, names: Sequence[str | None]) -> AbstractContextManager[None]:
        """Within this context each sequence of a batch uses the expert named for it, in this thread.

        Args:
            names: one expert's name per sequence; None means the base model alone.

        Raises:
            UnknownExpert: if a name is not on this model.
        """
        return self._current.assigned(names)

    def save_pretrained(self, folder: str | Path, *, with_base: bool = False) -> None:
        """Write the model as one folder, which ``load_model`` loads, see ``save_model``."""
        save_model(self, folder, with_base=with_base)

    def detach(self) -> BaseModel:
        """Remove the experts and return the original base model."""
        self.stack.detach()
        for hook in self._hooks:
            hook.remove()
        return self.base
