"""Folding an expert into its base model, which gives a plain model."""

import copy
import warnings
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors, add_general
from lorary.experts.card import shorten_hash
from lorary.experts.parts.soft_prompt import SoftPromptPart, find_prompt
from lorary.experts.stacked_parameters import Entry, read_entry
from lorary.files import say_count
from lorary.models.base import BaseModel
from lorary.models.check_expert import check_expert
from lorary.models.copied_weights import check_copies
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import add_to_weight
from lorary.models.parts.folding import fold_parts
from lorary.models.parts.settle import settle_parts
from lorary.models.quantized.dequantize import dequantize
from lorary.models.quantized.rounding import round_layers
from lorary.models.stacked_layers import add_to_stacked


@torch.no_grad()
def fold(
    model: PreTrainedModel | BaseModel,
    expert: Expert,
    dtype: torch.dtype | None = None,
    *,
    general: Expert | Mapping[str, Expert] | None = None,
) -> PreTrainedModel:
    """Copy a model and change the copy's weights as an expert does.

    The weights of a quantised base model are dequantised. A warning says so, and gives the part of the
    expert's change that is lost by rounding to the result's dtype.

    Args:
        model: the expert's base model, a plain ``transformers`` model or what ``load_base`` gives.
        expert: the expert; each layer's weight becomes ``W + b @ a`` with the changes of the expert's
            parts, computed in float32 and rounded once.
        dtype: of the result's weights; None for the model's.
        general: for an expert that builds on a general expert: that one, or a library that has it. Both are
            added.

    Returns:
        A new plain ``transformers`` model. The given one is not changed.

    Raises:
        IncompatibleExpert: if a module of the expert is missing in the model, or has another shape; if its
            general expert is not given; if weights are quantised in a way that cannot be
            undone; or if a plain model cannot
            represent a part.
    """
    if isinstance(model, BaseModel):
        model = model.model
    if find_prompt(expert) is not None:
        raise IncompatibleExpert(
            f"folding needs changes of weights, but expert {expert.name!r} has {SoftPromptPart.title}, which "
            "a plain model cannot hold: such an expert can be stored, verified, evaluated, exported as an "
            "adapter, and used by name (experts=…), also in one batch with others"
        )
    if expert.card.on_top_of is not None and general is None:
        raise IncompatibleExpert(
            f"expert {expert.name!r} builds on a general expert (weights "
            f"{shorten_hash(expert.card.on_top_of)}), which is folded with it: pass that expert, or the "
            "library that has it, as general=..."
        )
    expert = add_general(expert, {} if general is None else general)
    (expert,) = fit_paths(model, {expert.name: expert}).values()
    expert = settle_parts(model, expert)
    check_copies(model, [expert])
    check_expert(model, expert)
    folded = copy.deepcopy(model)
    plain = dequantize(folded)
    stacked: dict[str, dict[Entry, Factors]] = defaultdict(dict)
    for path in [path for path in expert.outlines if path not in expert.parts]:
        entry = read_entry(path)
        if entry is not None:
            stacked[entry.module][entry] = expert.factors[path]
            continue
        a, b = expert.factors[path]
        layer = folded.get_submodule(path)
        add_to_weight(layer, b.to(layer.weight.device).float() @ a.to(layer.weight.device).float())
    for path, entries in stacked.items():
        add_to_stacked(folded.get_submodule(path), entries)
    for path, parts in expert.parts.items():
        fold_parts(folded.get_submodule(path), expert.factors.get(path), parts, path)
    _note_untied(folded)
    if plain:
        _tell_dequantized(model, plain, dtype or model.dtype)
    return folded.to(dtype or folded.dtype)


def _tell_dequantized(model: PreTrainedModel, plain: Mapping[str, nn.Module], dtype: torch.dtype) -> None:
    error, worst = round_layers(model, plain, dtype)
    name = str(dtype).removeprefix("torch.")
    lost = f"{error:.2g} of the expert's change (relative norm"
    where = f"{lost}; at most {worst[0]:.2g} in a layer, {worst[1]})" if worst[1] else f"{lost})"
    warnings.warn(
        f"folding dequantises {say_count(len(plain), 'layer')} of a quantised base model: the result is a "
        f"plain {name} model, and rounding to {name} loses {where}; fold into the base model in "
        "full precision if you have it",
        stacklevel=3,
    )


def _note_untied(model: PreTrainedModel) -> None:
    """Record in the settings that the output layer has its own weights; saving would drop them otherwise."""
    output = model.get_output_embeddings()
    if output is None or output.weight is model.get_input_embeddings().weight:
        return
    paths = {f"{path}.weight" for path, module in model.named_modules() if module is output}
    for config in {id(each): each for each in (model.config, model.config.get_text_config())}.values():
        if getattr(config, "tie_word_embeddings", False):
            config.tie_word_embeddings = False
            # An encoder's and a decoder's embeddings stay one tensor.
            tied = model.all_tied_weights_keys
            model.all_tied_weights_keys = {path: tied[path] for path in tied if path not in paths}
