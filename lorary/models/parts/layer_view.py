"""A module of the base model, as parts of experts see it.

I layer input, O layer output.
"""

import copy

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lorary.experts.parts.contract import Weights
from lorary.models.layers import is_base_layer, layer_shape
from lorary.models.quantized.packed_layers import is_packed, unpack_weight


class LayerView:
    """The ``Layer`` of a module; see ``lorary.experts.parts.contract``.

    Args:
        module: a module of the base model, without experts.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self.shape: tuple[int, int] | None = layer_shape(module) if is_base_layer(module) else None
        self.is_packed = is_packed(module)

    def weights(self) -> dict[str, Tensor]:
        """Return the module's own parameters; a linear layer's ``weight`` is ``[O, I]``.

        They are not copied, except that a quantised weight is dequantised.
        """
        found = {
            name: self.orient(name, parameter.detach())
            for name, parameter in self.module.named_parameters(recurse=False)
        }
        if isinstance(self.module, nn.Linear) and self.is_packed:
            found["weight"] = unpack_weight(self.module)
        return found

    def orient(self, name: str, parameter: Tensor) -> Tensor:
        """Return a parameter as files and the module have it in the form of ``weights``, or back."""
        return parameter.T if name == "weight" and isinstance(self.module, Conv1D) else parameter

    def replicate(self, weights: Weights) -> nn.Module:
        """Return a module that shares all parameters with this one but the given, in ``weights``' form.

        Parameters of the module itself cannot be exchanged for a call, because other threads may run it.
        """
        replica = copy.copy(self.module)
        replica._parameters = dict(self.module._parameters)
        for name, values in weights.items():
            replica._parameters[name] = nn.Parameter(self.orient(name, values), requires_grad=False)
        if isinstance(replica, nn.Embedding):
            # It matters in training only, and may not be a row of another table.
            replica.num_embeddings, replica.padding_idx = len(replica.weight), None
        return replica

    def set_weights(self, weights: Weights) -> None:
        """Change the module's parameters, rounded to their dtypes; none is changed in place.

        An output layer may share its parameter with the embeddings, which must not change.
        """
        for name, values in weights.items():
            own = self.module._parameters[name]
            assert own is not None
            rounded = self.orient(name, values).to(own.dtype)
            self.module._parameters[name] = nn.Parameter(
                rounded.contiguous(), requires_grad=own.requires_grad
            )
