"""Linear layers with quantised weights: finding them, and their weights as floating-point numbers.

The packages that quantise are recognised by the names of their modules, since importing them takes seconds.

I layer input, O layer output.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lorary.errors import IncompatibleExpert

# The name of a 4-bit layer's switch in bitsandbytes; see ``keep_order``.
PACKS_ITSELF = "support_avx512bf16_for_cpu"


def is_packed_tensor(tensor: Tensor) -> bool:
    """Return whether a parameter has quantised values."""
    return not tensor.is_floating_point() or _is_torchao(tensor)


def is_packed(module: nn.Module) -> bool:
    """Return whether a module is a linear layer with a quantised weight."""
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear) and isinstance(weight, Tensor) and is_packed_tensor(weight)


def list_packed(model: nn.Module) -> dict[str, nn.Linear]:
    """Return module path -> layer, for all layers with quantised weights."""
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and is_packed(module)
    }


def unpack_weight(layer: nn.Linear) -> Tensor:
    """Return the numbers that a layer's quantised weight represents.

    Returns:
        ``[O, I]``, in float32 unless the layer's package computes in another dtype.

    Raises:
        IncompatibleExpert: if the layer is quantised by a package that this function does not know.
    """
    weight = layer.weight
    if _is_torchao(weight):
        return weight.detach().dequantize()
    if type(weight).__module__.startswith("bitsandbytes."):
        # Imported here, because the package is optional.
        from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant

        state = getattr(weight, "quant_state", None)
        if state is not None:
            return dequantize_4bit(*_restore_order(weight.data, state)).float()
        # The first call of an 8-bit layer moves the scales of its rows to its state.
        owner: Any = layer.state if getattr(weight, "SCB", None) is None else weight
        return int8_vectorwise_dequant(weight.data, owner.SCB)
    raise IncompatibleExpert(
        "weights must be floating-point numbers, or quantised by bitsandbytes or torchao, found "
        f"{weight.dtype} in a {type(layer).__name__}: load the base model without quantisation"
    )


def keep_order(model: nn.Module) -> None:
    """Keep the 4-bit weights of a model in the order and with the scales that quantisation gave them.

    Where a processor has AVX512-BF16, bitsandbytes would rearrange a layer's weights at its first call
    without gradients: the scales would be rounded to bfloat16 permanently, calls with and without gradients
    would differ, and widths that 32 and 64 do not divide would raise an error.
    """
    for layer in list_packed(model).values():
        if hasattr(layer, PACKS_ITSELF):
            setattr(layer, PACKS_ITSELF, False)


def _restore_order(values: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Return 4-bit values and their scales as they were before a layer rearranged them, if it has.

    The scales stay rounded to bfloat16, as the layer uses them.
    """
    if not getattr(state, "packing_format_for_cpu", False):
        return values, state
    from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse

    restored = copy.copy(state)
    restored.original_nested = False  # otherwise the scales would be quantised again
    values, restored = _convert_weight_packed_for_cpu_inverse(values, restored)
    restored.absmax = restored.absmax.T.reshape(-1).float()
    return values, restored


def mixes_tokens(model: nn.Module) -> bool:
    """Return whether a model has layers in which a token's output depends on the other tokens of a batch.

    LLM.int8() does not round the columns of its inputs in which any token has an outlier, arXiv:2208.07339.
    """
    states = (getattr(layer, "state", None) for layer in list_packed(model).values())
    return any(getattr(state, "threshold", 0.0) for state in states)


def list_stored(parameter: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors of which a parameter consists: quantised values and their scales, or itself."""
    if _is_torchao(parameter):
        names, _ = parameter.__tensor_flatten__()  # type: ignore[attr-defined]
        yield from (getattr(parameter, name) for name in names)
    else:
        yield parameter


def choose_factor_dtype(layer: nn.Module, otherwise: torch.dtype) -> torch.dtype:
    """Return the dtype of a layer's factors: its weight's, or another one if that is quantised."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.dtype if weight.is_floating_point() else otherwise


def _is_torchao(tensor: Tensor) -> bool:
    return type(tensor).__module__.startswith("torchao.")
