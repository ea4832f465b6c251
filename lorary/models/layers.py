"""Which layers of a base model can carry experts, and what their weights look like.

I layer input, O layer output.
"""

from collections.abc import Sequence
from typing import TypeAlias

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lorary.errors import IncompatibleExpert
from lorary.files import PatternMatcher, compile_pattern, quote

BaseLayer: TypeAlias = nn.Linear | Conv1D


def is_base_layer(module: nn.Module) -> bool:
    """Tell whether experts can be put on this module (linear layers, GPT-2's Conv1D, their quantised kin)."""
    return isinstance(module, nn.Linear | Conv1D)


def layer_shape(layer: BaseLayer) -> tuple[int, int]:
    """Give a layer's input and output width, ``(I, O)``."""
    if isinstance(layer, Conv1D):
        return layer.nx, layer.nf
    return layer.in_features, layer.out_features


def add_to_weight(layer: BaseLayer, change: Tensor) -> None:
    """Give a layer its weight plus a change ``[O, I]``, summed in float32 and rounded once.

    Raises:
        IncompatibleExpert: if the layer's weights are quantised.
    """
    if not layer.weight.is_floating_point():
        raise IncompatibleExpert(
            f"weights of dtype {layer.weight.dtype} cannot be added to: load the base model without "
            "quantisation"
        )
    change = change.T if isinstance(layer, Conv1D) else change
    changed = (layer.weight.detach().float() + change.float()).to(layer.weight.dtype)
    # A new parameter: an output layer may share the old one with the embeddings, which must stay as they are.
    layer.weight = nn.Parameter(changed, requires_grad=layer.weight.requires_grad)


def find_layers(model: PreTrainedModel, target_modules: str | Sequence[str]) -> dict[str, BaseLayer]:
    """Find the layers that a LoRA configuration's ``target_modules`` means, as PEFT reads it.

    Args:
        model: the base model.
        target_modules: ``"all-linear"`` (all but the output layer), a regular expression that must match a
            whole module path, or a list of path endings such as ``"q_proj"``.

    Returns:
        Module path -> layer, in the model's order.

    Raises:
        IncompatibleExpert: if nothing matches.
        ValueError: if it is no regular expression, or one that takes too long to match.
    """
    layers = {path: module for path, module in model.named_modules() if is_base_layer(module)}
    if target_modules == "all-linear":
        output = model.get_output_embeddings()
        found = {path: layer for path, layer in layers.items() if layer is not output}
    elif isinstance(target_modules, str):
        pattern, matcher = compile_pattern(target_modules), PatternMatcher()
        found = {path: layer for path, layer in layers.items() if matcher.fully_matches(pattern, path)}
    else:
        found = {
            path: layer
            for path, layer in layers.items()
            if any(path == target or path.endswith("." + target) for target in target_modules)
        }
    if not found:
        endings = sorted({path.rpartition(".")[2] for path in layers})
        raise IncompatibleExpert(
            f"target_modules {quote(target_modules)} match no layer of {type(model).__name__}: "
            f"its layers end in {endings}"
        )
    return found
