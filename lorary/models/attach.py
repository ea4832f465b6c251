"""Attaching experts to a base model.

E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.on_top import General, find_standing
from lorary.experts.random_start import find_start_seeds
from lorary.models.called import check_called
from lorary.models.check_expert import check_expert
from lorary.models.copied_weights import check_copies
from lorary.models.expert_gate import wrap_layer
from lorary.models.expert_linear import ExpertLinear
from lorary.models.expert_stack import ExpertStack
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import BaseLayer, layer_shape, takes_factors
from lorary.models.mixture import Mixture, close_mixtures, open_mixtures
from lorary.models.parts.expert_module import ExpertModule
from lorary.models.parts.place import Placed, place_parts
from lorary.models.parts.placed_parts import PlacedParts
from lorary.models.parts.settle import settle_parts
from lorary.models.prompt_inputs import VirtualTokens
from lorary.models.prompt_trial import place_prompts
from lorary.models.routing_context import RoutingContext
from lorary.models.stacks import Stack, stack_experts


def attach_experts(
    model: PreTrainedModel,
    experts: Mapping[str, Expert],
    dtype: torch.dtype | None = None,
    general: General | None = None,
) -> ExpertStack:
    """Attach experts to a model, in place.

    Every linear layer that any of them changes becomes an ``ExpertLinear``, every other module that one
    changes an ``ExpertModule``.

    Args:
        model: the experts' base model.
        experts: name -> expert. Lower ranks and layers that an expert does not change are padded with zeros.
            Module paths of a multimodal model and of its text model are converted, see ``fit_paths``.
        dtype: of the stacks; None for each layer's own, or the model's for quantised layers.
        general: the general expert among them that others build on; None: found by their cards.

    Returns:
        The stack, without a chooser: the model still computes the base model's output.

    Raises:
        IncompatibleExpert: if there is no expert; if a module of one is missing in the model, has another
            shape or is never called; if experts are attached already; or if the general expert that some
            build on is not among them.
    """
    _check_bare(model)
    if not experts:
        raise IncompatibleExpert("there must be at least one expert to attach, found none: add one first")
    loaded = dict(experts.items())
    general = find_standing(loaded) if general is None else general
    loaded = fit_paths(model, loaded)
    loaded = {name: settle_parts(model, expert) for name, expert in loaded.items()}
    modules = dict(model.named_modules())
    # Experts from files of the same layout share one outlines object: checking one of them is enough, except
    # of the values of parts.
    different = {
        id(expert if expert.parts else expert.outlines): expert for expert in loaded.values()
    }.values()
    check_copies(model, loaded.values())
    changed = {path for expert in different for path in check_expert(model, expert, modules)}
    for expert in different:
        check_called(model, expert.name, expert.paths)
    context = RoutingContext()
    open_mixtures(model, changed, context)
    layers = {
        path: layer for path, layer in model.named_modules() if path in changed and takes_factors(layer)
    }
    try:
        stacks = stack_experts(layers, list(loaded.values()), dtype, model.dtype)
        placed = place_parts(model, list(loaded.values()))
        prompts = place_prompts(model, list(loaded.values()))
    except BaseException:
        close_mixtures(model)
        raise
    kinds = {name: own.kinds for name, own in loaded.items()}
    seeds = find_start_seeds(loaded)
    return _install(model, list(loaded), stacks, placed, kinds, prompts, context, general, seeds)


def attach_slots(
    model: PreTrainedModel, layers: Mapping[str, BaseLayer], num_slots: int, rank: int
) -> ExpertStack:
    """Attach empty experts (all zeros, float32) to a model, in place, for training to fill.

    Args:
        model: the base model.
        layers: module path -> layer of the model, see ``find_layers``.
        num_slots: E, the number of experts.
        rank: R of each expert.

    Returns:
        The stack. Its experts are named ``"slot 0"``, ``"slot 1"``, ….

    Raises:
        IncompatibleExpert: if experts are attached already.
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
    return _install(
        model, [f"slot {slot}" for slot in range(num_slots)], stacks, {}, {}, {}, RoutingContext()
    )


def _check_bare(model: PreTrainedModel) -> None:
    for path, module in model.named_modules():
        if isinstance(module, ExpertLinear | ExpertModule | Mixture):
            raise IncompatibleExpert(
                f"the model must have no experts yet, but some are attached (at {path}): detach them first"
            )


def _install(
    model: PreTrainedModel,
    names: list[str],
    stacks: Mapping[str, Stack],
    placed: Mapping[str, Placed],
    kinds: Mapping[str, Sequence[str]],
    prompts: Mapping[int, VirtualTokens],
    context: RoutingContext,
    general: General | None = None,
    start_seeds: Mapping[str, int] | None = None,
) -> ExpertStack:
    layers, modules = {}, {}
    for path, (a, b_t, ranks) in stacks.items():
        layers[path] = wrap_layer(model.get_submodule(path), a, b_t, context, ranks, path)
        model.set_submodule(path, layers[path])
    for path, (changes, factors) in placed.items():
        if path not in layers:
            modules[path] = ExpertModule(model.get_submodule(path), PlacedParts(changes), context, path)
            model.set_submodule(path, modules[path])
            continue
        layers[path].parts = PlacedParts(changes)
        for index, pair in factors.items():
            layers[path].a.data[index, : pair.rank] = pair.a
            layers[path].b_t.data[index, : pair.rank] = pair.b.T
    return ExpertStack(model, names, layers, context, modules, kinds, prompts, general, start_seeds)
