"""Making a plain model from one with quantised weights.

I layer input, O layer output.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lorary.models.quantized.packed_layers import list_packed, unpack_weight

# The records of transformers on quantised models and their configurations.
_MODEL_MARKS = (
    *("hf_quantizer", "is_quantized", "quantization_method"),
    *("is_loaded_in_4bit", "is_loaded_in_8bit", "is_4bit_serializable", "is_8bit_serializable"),
)
_CONFIG_MARKS = ("quantization_config", "_is_quantized", "_pre_quantization_dtype")


@torch.no_grad()
def dequantize(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Replace all layers with quantised weights by plain layers of the same values, in place.

    The values are float32, so that an expert can be added before they are rounded. Layers that were GPT-2's
    ``Conv1D`` become so again, as files of the model's class have them.

    Args:
        model: a model without experts, whose configuration is its own.

    Returns:
        Module path -> new layer.

    Raises:
        IncompatibleExpert: if layers are quantised in a way that cannot be undone.
    """
    plain = {}
    for path, layer in list_packed(model).items():
        plain[path] = _make_plain(layer, unpack_weight(layer))
        model.set_submodule(path, plain[path])
    if plain:
        _remove(model, _MODEL_MARKS)
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                _remove(module.config, _CONFIG_MARKS)
    return plain


def came_from_conv1d(layer: nn.Module) -> bool:
    """Return whether a layer is GPT-2's ``Conv1D``, or was before it was quantised."""
    source = getattr(layer, "source_cls", type(layer))
    return isinstance(source, type) and issubclass(source, Conv1D)


def _make_plain(layer: nn.Linear, weight: Tensor) -> nn.Module:
    width_out, width_in = weight.shape
    with torch.device("meta"):
        plain: nn.Module
        if came_from_conv1d(layer):
            plain, values = Conv1D(width_out, width_in), weight.float().T.contiguous()
        else:
            plain, values = nn.Linear(width_in, width_out, bias=layer.bias is not None), weight.float()
    plain.weight = nn.Parameter(values, requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    return plain.train(layer.training)


def _remove(owner: object, names: tuple[str, ...]) -> None:
    for name in names:
        if name in vars(owner):
            delattr(owner, name)
