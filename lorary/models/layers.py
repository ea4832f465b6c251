"""The kinds of layers that can have experts, their shapes, and changes of their weights.

I layer input, O layer output.
"""

from typing import TypeAlias

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lorary.errors import IncompatibleExpert
from lorary.models.quantized.packed_layers import is_packed_tensor
from lorary.models.stacked_layers import StackedLayer

BaseLayer: TypeAlias = nn.Linear | Conv1D | StackedLayer


def is_base_layer(module: nn.Module) -> bool:
    """Return whether a module can have experts: a linear or quantised layer, a Conv1D or a sub-layer."""
    return isinstance(module, nn.Linear | Conv1D | StackedLayer)


def is_gate(module: nn.Module) -> bool:
    """Return whether a module is a mixture's gate: it has a weight ``[O, I]`` and chooses the best of O."""
    weight = getattr(module, "weight", None)
    is_matrix = isinstance(weight, nn.Parameter) and weight.ndim == 2
    return is_matrix and hasattr(module, "top_k") and not is_base_layer(module)


def takes_factors(module: nn.Module | None) -> bool:
    """Return whether a module can have low-rank factors: base layers, and the gates of mixtures."""
    return module is not None and (is_base_layer(module) or is_gate(module))


def layer_shape(layer: BaseLayer) -> tuple[int, int]:
    """Return a layer's input and output width, ``(I, O)``."""
    # The weight's own shape cannot be used: Conv1D stores it transposed, quantised layers pack it.
    if isinstance(layer, Conv1D):
        return layer.nx, layer.nf
    if is_gate(layer):
        width_out, width_in = layer.weight.shape
        return width_in, width_out
    return layer.in_features, layer.out_features


def add_to_weight(layer: nn.Linear | Conv1D, change: Tensor) -> None:
    """Add a change to a layer's weight, summed in float32 and rounded once.

    Args:
        layer: the layer, changed in place.
        change: ``[O, I]``.

    Raises:
        IncompatibleExpert: if the layer's weights are quantised.
    """
    if is_packed_tensor(layer.weight):
        raise IncompatibleExpert(
            "weights must be floating-point numbers to be changed, found a quantised "
            f"{type(layer).__name__}: load the base model without quantisation"
        )
    change = change.T if isinstance(layer, Conv1D) else change
    changed = (layer.weight.detach().float() + change.float()).to(layer.weight.dtype)
    # A new parameter, because an output layer may share its parameter with the embeddings, which must not
    # change.
    layer.weight = nn.Parameter(changed, requires_grad=layer.weight.requires_grad)
