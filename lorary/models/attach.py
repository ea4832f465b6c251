"""Putting experts on a base model, and taking them off again.

E experts, R rank, I layer input, O layer output, B rows, L row length, K experts per token.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import BaseIdentity, Expert
from lorary.experts.base_names import compare_bases
from lorary.files import escape, quote, shorten
from lorary.models.called import check_called
from lorary.models.copied_weights import check_copies
from lorary.models.expert_linear import ExpertLinear
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import BaseLayer, is_base_layer, layer_shape
from lorary.models.plan import Plan
from lorary.models.routing_context import Call, RoutingContext
from lorary.models.stacks import Stack, stack_experts
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

    def set_routers(self, routers: Mapping[str, nn.Module] | None, combine: str = "outputs") -> None:
        """Let routers choose by default, one for each layer; None for the base model alone.

        Raises:
            ValueError: if a layer has none or one that does not fit it, or within a context of this stack;
                the routers stay as they were.
        """
        with self.context.lock.changing("set routers"):
            self.set_default(None if routers is None else self.layer_routers(routers, combine))

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


def attach_experts(
    model: PreTrainedModel, experts: Mapping[str, Expert], dtype: torch.dtype | None = None
) -> ExpertStack:
    """Put experts on a model, in place: every layer that any of them changes becomes an ``ExpertLinear``.

    Args:
        model: their base model.
        experts: name -> expert; lower ranks are padded with zeros, missing layers filled with them. Layers
            of a multimodal model's text part are found in a text model, and back, see ``fit_paths``.
        dtype: of the stacks; None takes each layer's own.

    Returns:
        The stack, without a chooser: the model still answers as the base model.

    Raises:
        IncompatibleExpert: if there is no expert, a module of one is missing in the model, of another shape
            or not called by it, or the model carries experts already.
    """
    _check_bare(model)
    if not experts:
        raise IncompatibleExpert("there is no expert to put on the model: add one to the library first")
    loaded = fit_paths(model, dict(experts.items()))
    modules = dict(model.named_modules())
    # Experts that lie in files of one layout share their outlines: one stands for all.
    different = {id(expert.outlines): expert for expert in loaded.values()}.values()
    check_copies(model, loaded.values())
    changed = {path for expert in different for path in check_expert(model, expert, modules)}
    for expert in different:
        check_called(model, expert.name, list(expert.outlines))
    layers = {path: layer for path, layer in modules.items() if path in changed}
    return _install(model, list(loaded), stack_experts(layers, list(loaded.values()), dtype))


def attach_slots(
    model: PreTrainedModel, layers: Mapping[str, BaseLayer], num_slots: int, rank: int
) -> ExpertStack:
    """Put empty experts (all zeros, float32) on a model, in place, for training to fill.

    Args:
        model: the base model.
        layers: which of its layers, by module path (see ``find_layers``).
        num_slots: E, the number of experts in the stack.
        rank: R, of each.

    Returns:
        The stack, its experts named ``"slot 0"``, ``"slot 1"``, ….

    Raises:
        IncompatibleExpert: if the model carries experts already.
    """
    _check_bare(model)
    stacks = {}
    for path, layer in layers.items():
        width_in, width_out = layer_shape(layer)
        device = layer.weight.device
        stacks[path] = Stack(
            torch.zeros(num_slots, rank, width_in, device=device),
            torch.zeros(num_slots, rank, width_out, device=device),
            [rank] * num_slots,
        )
    return _install(model, [f"slot {slot}" for slot in range(num_slots)], stacks)


def check_expert(
    model: PreTrainedModel, expert: Expert, modules: Mapping[str, nn.Module] | None = None
) -> list[str]:
    """Check that each module of an expert is a layer of the model, of the right shape; list their paths.

    Args:
        model: the base model, with experts or without.
        expert: the expert.
        modules: the model's by path, where many experts are checked; None lists them.

    Raises:
        IncompatibleExpert: naming the first few that do not fit.
    """
    modules = dict(model.named_modules()) if modules is None else modules
    faults = []
    for path, (a, b) in expert.outlines.items():
        layer = modules.get(path)
        if isinstance(layer, ExpertLinear):
            layer = layer.base
        if layer is None or not is_base_layer(layer):
            faults.append(f"{_shown(path)} is no linear layer of it")
        elif layer_shape(layer) != (a.shape[1], b.shape[0]):
            faults.append(f"{_shown(path)} maps {layer_shape(layer)}, the expert {(a.shape[1], b.shape[0])}")
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        raise IncompatibleExpert(
            f"expert {expert.name!r} (trained on {quote(expert.base_model)}) does not fit this "
            f"{type(model).__name__}: {shown}. {_advise(model, expert, modules)}"
        )
    return list(expert.outlines)


def _advise(model: PreTrainedModel, expert: Expert, modules: Mapping[str, nn.Module]) -> str:
    """Say what to do about an expert that does not fit, but not to load the model that was loaded."""
    known = next((path for path, layer in modules.items() if is_base_layer(layer)), "")
    example = f" (its layers have names such as {_shown(known.removesuffix('.base'))})" if known else ""
    ours, theirs = model.name_or_path, expert.base_model
    if ours and theirs and compare_bases(BaseIdentity(theirs), BaseIdentity(ours)).fits:
        return (
            f"It names this base model, so it was trained with another class or version of that{example}: "
            "load that one, or train it again"
        )
    return f"Load it with its own base model{example and f'; this is another{example}'}"


def _shown(path: str) -> str:
    return shorten(escape(path, keep=""), 80)


def _check_bare(model: PreTrainedModel) -> None:
    for path, module in model.named_modules():
        if isinstance(module, ExpertLinear):
            raise IncompatibleExpert(f"the model carries experts already (at {path}): detach those first")


def _install(model: PreTrainedModel, names: list[str], stacks: Mapping[str, Stack]) -> ExpertStack:
    context = RoutingContext()
    layers = {}
    for path, (a, b_t, ranks) in stacks.items():
        layers[path] = ExpertLinear(model.get_submodule(path), a, b_t, context, ranks, path)
        model.set_submodule(path, layers[path])
    return ExpertStack(model, names, layers, context)
