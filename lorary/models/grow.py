"""Adding and removing one expert on a model, without attaching the others again.

E experts, R rank, W layer input or output.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.on_top import General, say_general_missing
from lorary.experts.random_start import find_start_seeds
from lorary.files import quote, say_count
from lorary.models.called import check_called
from lorary.models.check_expert import check_expert
from lorary.models.copied_weights import check_copies
from lorary.models.expert_gate import wrap_layer
from lorary.models.expert_linear import ExpertLinear
from lorary.models.expert_stack import ExpertStack
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import layer_shape, takes_factors
from lorary.models.mixture import open_mixtures
from lorary.models.parts.expert_module import ExpertModule
from lorary.models.parts.place import place_parts
from lorary.models.parts.placed_parts import PlacedParts
from lorary.models.parts.settle import settle_parts
from lorary.models.prompt_trial import move_prompts, place_prompts
from lorary.models.quantized.packed_layers import choose_factor_dtype
from lorary.models.routing_context import Call


def insert_expert(stack: ExpertStack, expert: Expert, index: int) -> ExpertStack:
    """Add an expert to a model: every stack grows by one and is padded to the larger rank.

    Args:
        stack: the experts on the model. Its layers are changed in place and belong to the returned stack
            afterwards; use only that one. Routers are not changed and must be set again.
        expert: the expert to add; it may change layers that had no experts so far.
        index: its place among the others, 0 to E.

    Returns:
        The stack of E+1 experts.

    Raises:
        IncompatibleExpert: if the name is taken, a module of the expert is missing in the model or has
            another shape, or it builds on another general expert than the model's; the model is not changed
            then.
        FormatError: if the expert's file is damaged; the model is not changed then.
        ValueError: within ``assign``, ``planned`` or ``routed``.
    """
    with stack.context.lock.changing("add an expert"):
        if expert.name in stack.names:
            raise IncompatibleExpert(
                f"an expert's name must be new on this model, but {expert.name!r} is taken: remove that "
                "expert first, or choose another name"
            )
        general = _join_standing(stack.general, expert)
        (expert,) = fit_paths(stack.model, {expert.name: expert}).values()
        expert = settle_parts(stack.model, expert)
        check_copies(stack.model, [expert])
        check_called(stack.model, expert.name, check_expert(stack.model, expert))
        return _insert(stack, expert, index, general)


def _join_standing(general: General | None, expert: Expert) -> General | None:
    """Return the model's general expert, with an additional expert that may build on it."""
    weights = expert.card.on_top_of
    if weights is None:
        return general
    if general is None or general.weights != weights:
        raise IncompatibleExpert(say_general_missing(expert, [expert.name], "this model"))
    return replace(general, standing=general.standing | {expert.name})


def _insert(stack: ExpertStack, expert: Expert, index: int, general: General | None) -> ExpertStack:
    # All values are read before the first layer is changed, since reading a damaged file fails.
    placed = place_parts(stack.model, [expert])
    with stack.context.own.set_to(Call(None)):
        prompts = place_prompts(stack.model, [expert])
    prompts = {index + place: own for place, own in prompts.items()} | move_prompts(
        stack.soft_prompts.prompts, index, 1
    )
    known = {**expert.factors, **{path: part.factors[0] for path, part in placed.items() if part.factors}}
    layers = _widen_layers(stack, [*known, *placed])
    modules = _widen_modules(stack, [path for path in placed if path not in layers])
    for path, layer in layers.items():
        factors = known.get(path)
        ranks = layer.list_ranks()
        ranks.insert(index, 0 if factors is None else factors.a.shape[0])
        layer.a = _freeze(_insert_row(layer.a, None if factors is None else factors.a, index))
        layer.b_t = _freeze(_insert_row(layer.b_t, None if factors is None else factors.b.T, index))
        layer.note_ranks(ranks)
        if layer.parts is None and path in placed:
            layer.parts = PlacedParts({})
    for path, parts in _list_parts(layers, modules).items():
        parts.insert(index, placed[path].changes.get(0, ()) if path in placed else ())
    names = (*stack.names[:index], expert.name, *stack.names[index:])
    kinds = {**stack.kinds, expert.name: expert.kinds}
    seeds = stack.start_seeds | find_start_seeds({expert.name: expert})
    stack.soft_prompts.remove()
    return ExpertStack(stack.model, names, layers, stack.context, modules, kinds, prompts, general, seeds)


def drop_expert(stack: ExpertStack, name: str) -> ExpertStack:
    """Remove one expert from a model.

    Args:
        stack: the experts on the model; changed as by `insert_expert`.
        name: the expert to remove.

    Returns:
        The stack of E-1 experts. R and the layers with experts stay, even if only this expert needed them.

    Raises:
        UnknownExpert: if it is not on the model.
        IncompatibleExpert: if other experts build on it.
        ValueError: within ``assign``, ``planned`` or ``routed``.
    """
    index = stack.index(name)
    general = _leave_standing(stack.general, name)
    with stack.context.lock.changing("remove an expert"):
        for layer in stack.layers.values():
            ranks = layer.list_ranks()
            layer.a = _freeze(torch.cat([layer.a[:index], layer.a[index + 1 :]]))
            layer.b_t = _freeze(torch.cat([layer.b_t[:index], layer.b_t[index + 1 :]]))
            layer.note_ranks(ranks[:index] + ranks[index + 1 :])
        for parts in _list_parts(stack.layers, stack.modules).values():
            parts.drop(index)
    names = (*stack.names[:index], *stack.names[index + 1 :])
    kinds = {other: own for other, own in stack.kinds.items() if other != name}
    left = {place: own for place, own in stack.soft_prompts.prompts.items() if place != index}
    prompts = move_prompts(left, index, -1)
    seeds = {other: seed for other, seed in stack.start_seeds.items() if other != name}
    stack.soft_prompts.remove()
    return ExpertStack(
        stack.model, names, stack.layers, stack.context, stack.modules, kinds, prompts, general, seeds
    )


def _leave_standing(general: General | None, name: str) -> General | None:
    """Return the model's general expert without one that built on it."""
    if general is None:
        return None
    if name == general.name:
        some = sorted(general.standing)
        raise IncompatibleExpert(
            f"expert {name!r} cannot be removed, because {say_count(len(some), 'expert')} of this model "
            f"build on it ({quote(some[0])} first): remove these first, or detach the model"
        )
    return replace(general, standing=general.standing - {name})


def _widen_layers(stack: ExpertStack, paths: list[str]) -> dict[str, ExpertLinear]:
    """Make layers with empty stacks (R = 0) at some paths; return all layers, in the model's order."""
    open_mixtures(stack.model, paths, stack.context)
    for path in paths:
        base = stack.model.get_submodule(path)
        if not takes_factors(base):
            continue
        dtype = choose_factor_dtype(base, stack.model.dtype)
        width_in, width_out = layer_shape(base)
        a, b_t = (
            torch.zeros(len(stack.names), 0, width, dtype=dtype, device=base.weight.device)
            for width in (width_in, width_out)
        )
        stack.model.set_submodule(path, wrap_layer(base, a, b_t, stack.context, path=path))
    return {path: module for path, module in stack.model.named_modules() if isinstance(module, ExpertLinear)}


def _list_parts(
    layers: Mapping[str, ExpertLinear], modules: Mapping[str, ExpertModule]
) -> dict[str, PlacedParts]:
    found = {path: layer.parts for path, layer in layers.items() if layer.parts is not None}
    return {**found, **{path: module.parts for path, module in modules.items()}}


def _widen_modules(stack: ExpertStack, paths: list[str]) -> dict[str, ExpertModule]:
    """Make modules with parts of no expert at some paths; return all of them."""
    modules = dict(stack.modules)
    for path in paths:
        if path not in modules:
            base = stack.model.get_submodule(path)
            modules[path] = ExpertModule(base, PlacedParts({}), stack.context, path)
            stack.model.set_submodule(path, modules[path])
    return modules


def _insert_row(stacked: Tensor, row: Tensor | None, index: int) -> Tensor:
    """Insert one expert's ``[R, W]``, or zeros for None, into ``[E, R, W]``; the ranks may differ."""
    count, rank, width = stacked.shape
    needed = rank if row is None else max(rank, row.shape[0])
    grown = stacked.new_zeros(count + 1, needed, width)
    grown[:index, :rank] = stacked[:index]
    grown[index + 1 :, :rank] = stacked[index:]
    if row is not None:
        grown[index, : row.shape[0]] = row
    return grown


def _freeze(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)
