"""Ways of answering that an evaluation compares.

B rows of a packed batch, L row length.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from lorary.assembly import RoutedModel
from lorary.data.packing import PADDING, PackedBatch
from lorary.errors import UnknownExpert, suggest
from lorary.routing import ROUTERS, ArrowConfig

EXPERT_PREFIX = "expert:"


@dataclass(frozen=True, kw_only=True)
class Route:
    """One way of answering: the base alone, a router, or an expert by name for each task."""

    name: str
    """What it is called in tables."""
    router: str | None = None
    """A key of ``ROUTERS``; None for the base model, or for experts by name."""
    options: Any = None
    """The router's configuration; None takes its defaults."""
    combine: str = "outputs"
    """How several experts are put together, see ``mix``."""
    expert_of: Mapping[str, str] | None = None
    """Task -> the expert that answers it; instead of a router."""

    @contextmanager
    def applied(self, model: RoutedModel) -> Iterator[None]:
        """Within this context the route's router (or nobody) decides."""
        with model.routed(self.router, self.options, self.combine):
            yield

    @contextmanager
    def planned(self, model: RoutedModel, tasks: Sequence[str], batch: PackedBatch) -> Iterator[None]:
        """Within this context each token of a packed batch goes to its task's expert, if that is the route.

        Args:
            model: the model.
            tasks: the task of each packed sequence.
            batch: the batch, on the model's device.
        """
        if self.expert_of is None:
            yield
            return
        experts = torch.tensor([model.stack.index(self.expert_of[task]) for task in tasks])
        indices = experts.to(batch.owner.device)[batch.owner.clamp(min=0)].unsqueeze(-1)  # [B, L, 1]
        weights = (batch.owner != PADDING).unsqueeze(-1).float()
        with model.stack.planned(indices, weights):
            yield

    def assigned(self, model: RoutedModel, tasks: Sequence[str]) -> AbstractContextManager[None]:
        """Within this context each sequence of a batch goes to its task's expert, if that is the route."""
        if self.expert_of is None:
            return nullcontext()
        return model.assign([self.expert_of[task] for task in tasks])


def find_routes(
    names: Sequence[str],
    model: RoutedModel,
    experts_of_tasks: Mapping[str, str],
    *,
    arrow: ArrowConfig | None = None,
    combine: str = "outputs",
) -> list[Route]:
    """Turn route names, as the command line takes them, into routes.

    Args:
        names: ``"base"``, ``"oracle"`` (each task's own expert), a router's name, a control's name
            (``"random"``, ``"multi-task"``), or ``"expert:NAME"``.
        model: the model they will run on.
        experts_of_tasks: task -> its own expert, for all tasks; the oracle answers with these.
        arrow: options of Arrow; None for its defaults.
        combine: for Arrow.

    Raises:
        ValueError: if a name is none of these.
        UnknownExpert: if an expert is not on the model.
    """
    check_routes(names, model.names, model.controls)
    return [_find_route(name, model, experts_of_tasks, arrow, combine) for name in names]


def check_routes(names: Sequence[str], experts: Collection[str], controls: Collection[str]) -> None:
    """Refuse route names that mean nothing, before anything is loaded.

    Args:
        names: what ``find_routes`` will be given.
        experts: the experts that will be on the model.
        controls: the controls that will be.

    Raises:
        ValueError: if a name is no route.
        UnknownExpert: if it is ``"expert:NAME"`` and there is no such expert.
    """
    known = ["base", "oracle", *ROUTERS, *controls]
    for name in names:
        expert = name.removeprefix(EXPERT_PREFIX)
        if expert != name and expert not in {*experts, *controls}:
            raise UnknownExpert(expert, {*experts, *controls}, "this model")
        if expert == name and name not in known:
            raise ValueError(f"there is no route {name!r}: {suggest(name, [*known, 'expert:NAME'])}")


def match_experts(model: RoutedModel, tasks: Sequence[str]) -> dict[str, str]:
    """Find each task's own expert: the one of the task's name.

    Raises:
        UnknownExpert: if a task has none.
    """
    for task in tasks:
        if task not in model.names:
            where = "the library (the oracle needs an expert of each task's name)"
            raise UnknownExpert(task, model.names, where)
    return {task: task for task in tasks}


def _find_route(
    name: str, model: RoutedModel, own: Mapping[str, str], arrow: ArrowConfig | None, combine: str
) -> Route:
    if name == "base":
        return Route(name=name)
    if name == "arrow":
        return Route(name=name, router=name, options=arrow, combine=combine)
    if name in ROUTERS:
        return Route(name=name, router=name)
    one = name.removeprefix(EXPERT_PREFIX)
    expert_of = dict(own) if name == "oracle" else dict.fromkeys(own, one)
    for expert in expert_of.values():
        model.stack.index(expert)
    return Route(name=name, expert_of=expert_of)
