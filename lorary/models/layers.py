"""Which layers of a base model can carry experts, and what their weights look like.

I layer input, O layer output.
"""

from typing import TypeAlias

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lorary.errors import IncompatibleExpert

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
