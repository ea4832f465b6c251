"""An expert folded into its base model: plain weights, no experts left."""

import copy

import torch
from transformers import PreTrainedModel

from lorary.experts import Expert
from lorary.models.attach import check_expert
from lorary.models.copied_weights import check_copies
from lorary.models.layers import add_to_weight


@torch.no_grad()
def fold(model: PreTrainedModel, expert: Expert) -> PreTrainedModel:
    """Copy a model and add an expert's weight changes to the copy's weights.

    Args:
        model: the expert's base model, a plain ``transformers`` model.
        expert: the expert; each layer gets ``W + b @ a``, summed in float32 and rounded once.

    Returns:
        A new model without any trace of lorary. The given one is untouched.

    Raises:
        IncompatibleExpert: if a module of the expert is missing in the model or of another shape.
    """
    check_copies(model, expert)
    layers = check_expert(model, expert)
    folded = copy.deepcopy(model)
    for path in layers:
        a, b = expert.factors[path]
        layer = folded.get_submodule(path)
        add_to_weight(layer, b.to(layer.weight.device).float() @ a.to(layer.weight.device).float())
    return folded
