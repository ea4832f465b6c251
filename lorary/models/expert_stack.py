"""The experts on one model: layers, names and choosers.

B rows, L row length, P requests, K experts per request.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import UnknownExpert
from lorary.experts.on_top import General
from lorary.models.expert_linear import ExpertLinear
from lorary.models.mixture import Mixture, list_mixtures
from lorary.models.parts.expert_module import ExpertModule
from lorary.models.plan import Nobody, Plan
from lorary.models.prompt_inputs import VirtualTokens
from lorary.models.routing_context import Call, RoutingContext
from lorary.models.soft_prompts import SoftPrompts
from lorary.routing import Chooser, LayerRouters
from lorary.routing.shapes import check_router


class ExpertStack:
    """The experts on one model: its ``ExpertLinear`` layers, the experts' names and the choosers.

    ``attach_experts`` and ``attach_slots`` make it; ``detach`` restores the base model. Threads may share it.
    ``choosing``, ``assign`` and ``planned`` apply to the thread that enters them. A change for all threads
    waits until no other thread is within a context.

    Args:
        model: the base model, whose layers were replaced in place.
        names: the experts' names, in the order of the stacks.
        layers: module path -> the layer with experts.
        context: the state shared by the layers; ``insert_expert`` and ``drop_expert`` pass it on.
        modules: module path -> a module that is not a linear layer, with parts of experts; None for none.
        kinds: name of an expert -> kinds of its parts, for experts with more than low-rank factors.
        prompts: place of an expert -> its soft prompt; None for none.
        general: the general expert that some of them build on, one of ``names``; None if none does. It is
            always active for these, with weight 1.
        start_seeds: name of an expert -> seed of the random ``a`` that its training may have begun with, see
            ``find_start_seed``.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        names: Sequence[str],
        layers: dict[str, ExpertLinear],
        context: RoutingContext,
        modules: dict[str, ExpertModule] | None = None,
        kinds: Mapping[str, Sequence[str]] | None = None,
        prompts: Mapping[int, VirtualTokens] | None = None,
        general: General | None = None,
        start_seeds: Mapping[str, int] | None = None,
    ):
        self.model = model
        self.names = tuple(names)
        self.layers = layers
        self.context = context
        self._mixtures = list_mixtures(model)
        self.modules = {} if modules is None else modules
        self.kinds = {name: tuple(own) for name, own in (kinds or {}).items() if own}
        self.start_seeds = dict(start_seeds or {})
        self.soft_prompts = SoftPrompts(prompts or {}, context).watch(model)
        self._index = {name: index for index, name in enumerate(self.names)}
        self.general = general
        context.general = None if general is None else self._index[general.name]

    def index(self, name: str) -> int:
        """Return an expert's place in the stacks; raise ``UnknownExpert`` if it has none."""
        if name not in self._index:
            raise UnknownExpert(name, self.names, "this model", self.context.left_out.get(name))
        return self._index[name]

    def in_use(self) -> AbstractContextManager[None]:
        """Within this context no other thread changes the experts, layers or default routers.

        A thread within it must not wait for other threads that use the model, since these may wait for a
        thread that waits to change it.
        """
        return self.context.lock.using()

    @contextmanager
    def choosing(
        self, chooser: Chooser | None, rows: Tensor | None = None, num_requests: int | None = None
    ) -> Iterator[None]:
        """Within this context, in this thread, a chooser chooses the experts.

        Args:
            chooser: see ``lorary.routing.Chooser``; None for the base model alone.
            rows: the request of each token, in the batch's shape, -1 for padding; None: each row of the
                batch is a request.
            num_requests: number of requests that the chooser has experts for; a batch with another number of
                rows is refused.
        """
        with self.in_use(), self.context.own.set_to(Call(chooser, rows, num_requests)):
            yield

    @contextmanager
    def assign(self, names: Sequence[str | None]) -> Iterator[None]:
        """Within this context, in this thread, each sequence of the batch uses the expert named for it.

        Args:
            names: one expert name per sequence; None for the base model alone.

        Raises:
            UnknownExpert: if a name is not on this model.
        """
        with self.in_use():
            indices = torch.tensor([[0 if name is None else self.index(name)] for name in names])
            weights = torch.tensor([[0.0 if name is None else 1.0] for name in names])
            with self.planned(indices, weights):
                yield

    def without_choice(self) -> AbstractContextManager[None]:
        """Within this context, in this thread, no expert is chosen, as when routers read activations.

        The base model is alone, or with the general expert that experts build on.
        """
        return self.choosing(None if self.general is None else Nobody())

    @contextmanager
    def planned(
        self,
        indices: Tensor,
        weights: Tensor,
        combine: str = "outputs",
        rows: Tensor | None = None,
        general: Tensor | None = None,
    ) -> Iterator[None]:
        """Within this context, in this thread, each request uses the experts given for it.

        Args:
            indices: the experts of each request, ``[P, K]``.
            weights: their weights, ``[P, K]``.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.
            rows: the request of each token, as for ``choosing``.
            general: which requests use the general expert that experts build on, ``[P]`` bool; None: those
                with an expert that builds on it, of a weight other than 0.

        Raises:
            ValueError: if the experts were detached, shapes disagree or an index is out of range.
        """
        with self.in_use():
            plan = self.plan(indices, weights, combine, general)
            chooser = None if plan.is_base_only else plan
            num_requests = plan.num_requests if rows is None and chooser is not None else None
            with self.choosing(chooser, rows, num_requests):
                yield

    def plan(
        self,
        indices: Tensor,
        weights: Tensor,
        combine: str = "outputs",
        general: Tensor | None = None,
    ) -> Plan:
        """Make a chooser of given experts for each request; arguments and errors as for ``planned``."""
        if not self.layers and not self.modules and not self.soft_prompts.prompts:
            raise ValueError("there are no experts to choose from, they were detached: load the model again")
        device = next(iter(self.layers.values())).a.device if self.layers else self.model.device
        if combine == "factors":
            self._refuse_mixed_factors(indices, weights)
        if self.general is None:
            shared = None
        else:
            shared = (self._find_standing(indices, weights) if general is None else general).to(device)
        return Plan(indices.to(device), weights.to(device), len(self.names), combine, shared)

    def _find_standing(self, indices: Tensor, weights: Tensor) -> Tensor:
        """Return which requests have an expert that builds on the general one, ``[P]``."""
        assert self.general is not None
        own = self.index(self.general.name)
        places = torch.tensor([self.index(name) for name in sorted(self.general.standing)])
        used = weights.detach().cpu() != 0
        names_it = ((indices.cpu() == own) & used).any(-1)
        # A request that names the general expert sets its weight.
        return (torch.isin(indices.cpu(), places) & used).any(-1) & ~names_it

    def _refuse_mixed_factors(self, indices: Tensor, weights: Tensor) -> None:
        if not self.kinds or indices.shape != weights.shape:
            return
        others = [self.index(name) for name in self.kinds]
        has_others = torch.isin(indices.cpu(), torch.tensor(others))
        used = weights.cpu() != 0
        is_mixed = (used.sum(-1) > 1) | ((weights.cpu() != 1) & used).any(-1)
        mixed = indices.cpu()[has_others & used & is_mixed[:, None]]
        if len(mixed):
            raise ValueError(
                f"expert {self.names[int(mixed[0])]!r} has more than low-rank factors, so its factors "
                "cannot be mixed with others: combine 'outputs', or name it alone with weight 1"
            )

    def set_default(self, chooser: LayerRouters | None) -> None:
        """Set the default chooser of all threads' calls; None for the base model alone.

        Raises:
            ValueError: if this thread is within a context of this stack.
        """
        with self.context.lock.changing("set a router"):
            self.context.default = Call(chooser)
            for path, layer in self.layers.items():
                layer.default_router = None if chooser is None else chooser.routers[path]

    def layer_routers(self, routers: Mapping[str, nn.Module], combine: str = "outputs") -> LayerRouters:
        """Make a chooser of layer routers; each router is moved to its layer's device.

        Args:
            routers: module path -> router; all layers with experts need one.
            combine: ``"outputs"`` or ``"factors"``, see ``mix``.

        Raises:
            ValueError: if a layer has no router, or one that does not fit it.
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
        """Within this context the model is the bare base model, and no other thread uses it."""
        with self.context.lock.changing("set the experts aside"):
            try:
                self._remove()
                with self.context.own.set_to(Call(None)):
                    yield self.model
            finally:
                for path, module in self._list_modules():
                    self.model.set_submodule(path, module)

    def detach(self) -> PreTrainedModel:
        """Restore the base layers for good, and return the base model."""
        with self.context.lock.changing("detach the experts"):
            self._remove()
            self.soft_prompts.remove()
            self.layers, self.modules, self._mixtures = {}, {}, {}
        return self.model

    def _list_modules(self) -> list[tuple[str, ExpertLinear | ExpertModule | Mixture]]:
        """List all modules on the model; mixtures first, since they have sub-layers."""
        return [*self._mixtures.items(), *self.layers.items(), *self.modules.items()]

    def _remove(self) -> None:
        """Put the base model's modules back."""
        for path, module in reversed(self._list_modules()):
            self.model.set_submodule(path, module.base)
