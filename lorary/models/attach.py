"""Putting experts on a base model.

E experts, R rank, I layer input, O layer output.
"""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.models.called import check_called
from lorary.models.check_expert import check_expert
from lorary.models.copied_weights import check_copies
from lorary.models.expert_linear import ExpertLinear
from lorary.models.expert_stack import ExpertStack
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import BaseLayer, layer_shape
from lorary.models.routing_context import RoutingContext
from lorary.models.stacks import Stack, stack_experts


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
