"""Folding an expert into its base model, which gives a plain model."""

import copy
from collections import defaultdict

import torch
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert, Factors
from lorary.experts.parts.soft_prompt import SoftPromptPart, find_prompt
from lorary.experts.stacked_parameters import Entry, read_entry
from lorary.models.check_expert import check_expert
from lorary.models.copied_weights import check_copies
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import add_to_weight
from lorary.models.parts.folding import fold_parts
from lorary.models.parts.settle import settle_parts
from lorary.models.stacked_layers import add_to_stacked


@torch.no_grad()
def fold(model: PreTrainedModel, expert: Expert) -> PreTrainedModel:
    """Copy a model and change the copy's weights as an expert does.

    Args:
        model: the expert's base model, a plain ``transformers`` model.
        expert: the expert; each layer's weight becomes ``W + b @ a``, and what the expert's parts make of it,
            computed in float32 and rounded once.

    Returns:
        A new plain ``transformers`` model. The given one is not changed.

    Raises:
        IncompatibleExpert: if a module of the expert is missing in the model, has another shape, or has
            quantised weights; or if a plain model cannot hold what a part changes.
    """
    if find_prompt(expert) is not None:
        raise IncompatibleExpert(
            f"folding needs changes of weights, but expert {expert.name!r} has {SoftPromptPart.title}, which "
            "a plain model cannot hold: such an expert can be stored, verified, evaluated, exported as an "
            "adapter, and named for requests (experts=…), also in one batch with others"
        )
    (expert,) = fit_paths(model, {expert.name: expert}).values()
    expert = settle_parts(model, expert)
    check_copies(model, [expert])
    check_expert(model, expert)
    folded = copy.deepcopy(model)
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
    return folded


def _note_untied(model: PreTrainedModel) -> None:
    """Record in the settings that the output layer has its own weights, since saving would drop them else."""
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
