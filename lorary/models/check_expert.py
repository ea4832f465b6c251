"""Checking that each module that an expert changes is in a model, with the right shape."""

from collections.abc import Mapping
from typing import cast

from torch import nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import BaseIdentity, Expert
from lorary.experts.base_names import compare_bases
from lorary.experts.stacked_parameters import read_entry
from lorary.files import escape, quote
from lorary.models.expert_linear import ExpertLinear
from lorary.models.layers import BaseLayer, is_base_layer, layer_shape, takes_factors
from lorary.models.parts.fit import find_part_faults
from lorary.models.stacked_layers import find_owner, stacked_shape


def check_expert(
    model: PreTrainedModel, expert: Expert, modules: Mapping[str, nn.Module] | None = None
) -> list[str]:
    """Check that each module that an expert changes is in the model, with the right shape.

    Args:
        model: the base model, with experts or without.
        expert: the expert.
        modules: module path -> module of the model; pass it if many experts are checked. None: it is listed.

    Returns:
        The paths of all modules that it changes.

    Raises:
        IncompatibleExpert: if some do not fit; the message names the first few.
    """
    modules = dict(model.named_modules()) if modules is None else modules
    faults = []
    for path, (a, b) in expert.outlines.items():
        shape = _find_shape(modules, path)
        if shape is None:
            faults.append(f"{_shown(path)} is not one of its linear layers")
        elif shape != (a.shape[1], b.shape[0]):
            faults.append(f"{_shown(path)} maps {shape}, the expert {(a.shape[1], b.shape[0])}")
    faults += [f"{_shown(path)} {fault}" for path, fault in find_part_faults(expert, modules)]
    if faults:
        shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        raise IncompatibleExpert(
            f"expert {expert.name!r} (trained on {quote(expert.base_model)}) does not fit this "
            f"{type(model).__name__}: {shown}. {_advise(model, expert, modules)}"
        )
    return expert.paths


def _find_shape(modules: Mapping[str, nn.Module], path: str) -> tuple[int, int] | None:
    """Return a layer's input and output width; None if the path is not that of a layer."""
    entry = read_entry(path)
    if entry is not None:
        owner = find_owner(modules, entry)
        return None if owner is None else stacked_shape(owner, entry.parameter)
    layer = modules.get(path)
    if isinstance(layer, ExpertLinear):
        layer = layer.base
    return layer_shape(cast(BaseLayer, layer)) if takes_factors(layer) else None


def _advise(model: PreTrainedModel, expert: Expert, modules: Mapping[str, nn.Module]) -> str:
    """Return advice for an expert that does not fit, other than to load the model that is already loaded."""
    known = next((path for path, layer in modules.items() if is_base_layer(layer)), "")
    example = f" (its layers have names such as {_shown(known.removesuffix('.base'))})" if known else ""
    ours, theirs = model.name_or_path, expert.base_model
    if ours and theirs and compare_bases(BaseIdentity(theirs), BaseIdentity(ours)).fits:
        return (
            f"It was trained on another class or version of this base model{example}: load that one, or "
            "train the expert again"
        )
    return f"Load it with its own base model{example and f'; this is another{example}'}"


def _shown(path: str) -> str:
    return escape(path, keep="", longest=80)
