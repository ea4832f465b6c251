"""The experts on one model: layers, names, and who chooses among them.

B rows, L row length, P requests, K experts per request.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import UnknownExpert
from lorary.models.expert_linear import ExpertLinear
from lorary.models.plan import Plan
from lorary.models.routing_context import Call, RoutingContext
from lorary.routing import Chooser, LayerRouters
from lorary.routing.shapes import check_router


class ExpertStack:
    """The experts on one model: its ``ExpertLinear`` layers, the experts' names and the choosers.

    Made by ``attach_experts`` and ``attach_slots``; ``detach`` gives the base model back as it was. Threads
    may share it: ``choosing``, ``assign`` and ``planned`` hold for the thread that enters them, and whoever
    changes something for everybody waits until no other thread is within a context.

    Args:
        model: the base model, changed in place.
        names: one per expert, in the order of the stacks.
        layers: module path -> its new layer.
        context: shared by the layers, and by the stacks of other experts that these become.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        names: Sequence[str],
        layers: dict[str, ExpertLinear],
        context: RoutingContext,
    ):
        self.model = model
        self.names = tuple(names)
        self.layers = layers
        self.context = context
        self._index = {name: index for index, name in enumerate(self.names)}

    def index(self, name: str) -> int:
        """Give an expert's place in the stacks; ``UnknownExpert`` if it is not there."""
        if name not in self._index:
            raise UnknownExpert(name, self.names, "this model")
        return self._index[name]

    def in_use(self) -> AbstractContextManager[None]:
        """Within this context no other thread changes which experts, layers or routers there are.

        A thread within it must not wait for other threads that use the model.
        """
        return self.context.lock.using()

    @contextmanager
    def choosing(
        self, chooser: Chooser | None, rows: Tensor | None = None, num_requests: int | None = None
    ) -> Iterator[None]:
        """Within this context a chooser chooses, in this thread.

        Args:
            chooser: see ``lorary.routing.Chooser``; None for the base model alone.
            rows: which request each token belongs to, of the batch's shape, -1 for padding; None takes each
                row of the batch for a request.
            num_requests: how many requests the chooser knows; a batch of more or fewer rows is refused.
        """
        with self.in_use(), self.context.own.set_to(Call(chooser, rows, num_requests)):
            yield

    @contextmanager
    def assign(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within this context each sequence of the batch uses the expert named for it, in this thread.

        Args:
            names: one expert name per sequence; None means the base model alone.

        Raises:
            UnknownExpert: if a name is not on this model.
        """
        with self.in_use():
            indices = torch.tensor([[0 if name is None else self.index(name)] for name in names])
            weights = torch.tensor([[0.0 if name is None else 1.0] for name in names])
            with self.planned(indices, weights):
                yield

    @contextmanager
    def planned(
        self, indices: Tensor, weights: Tensor, combine: str = "outputs", rows: Tensor | None = None
    ) -> Iterator[None]:
        """Within this context requests use the experts given for them, in this thread.

        Args:
            indices: ``[P, K]``, for each of P requests.
            weights: of the same shape.
            combine: ``"outputs"`` or ``"factors"``.
            rows: which request each token belongs to, as for ``choosing``.

        Raises:
            ValueError: if the experts were detached, shapes disagree or an index is out of range.
        """
        with self.in_use():
            plan = self.plan(indices, weights, combine)
            chooser = None if plan.is_base_only else plan
            num_requests = plan.num_requests if rows is None and chooser is not None else None
            with self.choosing(chooser, rows, num_requests):
                yield

    def plan(self, indices: Tensor, weights: Tensor, combine: str = "outputs") -> Plan:
        """Make a chooser that knows the experts of each request, see ``planned``."""
        if not self.layers:
            raise ValueError("there are no experts to choose, they were detached: load the model again")
        device = next(iter(self.layers.values())).a.device
        return Plan(indices.to(device), weights.to(device), len(self.names), combine)

    def set_default(self, chooser: LayerRouters | None) -> None:
        """Set the default chooser of calls; None for the base model alone.

        Raises:
            ValueError: within a context of this stack.
        """
        with self.context.lock.changing("set a router"):
            self.context.default = Call(chooser)
            for path, layer in self.layers.items():
                layer.default_router = None if chooser is None else chooser.routers[path]

    def layer_routers(self, routers: Mapping[str, nn.Module], combine: str = "outputs") -> LayerRouters:
        """Make a chooser of routers, each on its layer's device.

        Raises:
            ValueError: if a layer has none, or one that does not fit it.
        """
        missing = [path for path in self.layers if path not in routers]
        if missing:
            raise ValueError(
                f"every layer with experts needs a router, {len(missing)} have none, such as {missing[0]!r}"
            )
        placed = {path: routers[path].to(layer.a.device) for path, layer in self.layers.items()}
        for path, layer in self.layers.items():
            check_router(placed[path], path, layer.a.new_zeros(1, layer.a.shape[2]), len(layer.a))
        return LayerRouters(placed, combine)

    @contextmanager
    def set_aside(self) -> Iterator[PreTrainedModel]:
        """Within this context the model is the base model alone, as it was, and no other thread uses it."""
        with self.context.lock.changing("set the experts aside"):
            try:
                for path, layer in self.layers.items():
                    self.model.set_submodule(path, layer.base)
                yield self.model
            finally:
                for path, layer in self.layers.items():
                    self.model.set_submodule(path, layer)

    def detach(self) -> PreTrainedModel:
        """Put the base layers back and return the base model."""
        with self.context.lock.changing("detach the experts"):
            for path, layer in self.layers.items():
                self.model.set_submodule(path, layer.base)
            self.layers = {}
        return self.model
