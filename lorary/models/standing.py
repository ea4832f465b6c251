"""A base model with a general expert that is always active, for training experts on top of it.

R rank, I layer input, O layer output, T tokens.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.expert import check_finite
from lorary.experts.on_top import check_general
from lorary.models.called import check_called
from lorary.models.check_expert import check_expert
from lorary.models.fit_paths import fit_paths
from lorary.models.layers import is_gate, takes_factors
from lorary.models.mix import mix_stacks


@contextmanager
def general_on(model: PreTrainedModel, general: Expert) -> Iterator[None]:
    """Within this context every call of a model adds a general expert's output, by hooks on its layers.

    The model's modules are not changed, so that experts can be attached to them. No gradients of the general
    expert are computed.

    Args:
        model: the base model, without experts.
        general: the general expert.

    Raises:
        IncompatibleExpert: if a layer of it is missing in the model, has another shape, is never called, or
            is a sub-layer or the gate of a mixture of experts; or if it has more than low-rank factors, or
            builds on another expert.
        FormatError: if a weight of it is not finite.
    """
    check_general(general)
    (fitted,) = fit_paths(model, {general.name: general}).values()
    check_called(model, general.name, check_expert(model, fitted))
    check_finite(fitted)
    layers = {path: _find_layer(model, general.name, path) for path in fitted.factors}
    with ExitStack() as opened:
        for path, layer in layers.items():
            hook = layer.register_forward_hook(_Adder(layer, *fitted.factors[path]))
            opened.callback(hook.remove)
        yield


def _find_layer(model: PreTrainedModel, name: str, path: str) -> nn.Module:
    found = dict(model.named_modules()).get(path)
    if found is None or not takes_factors(found) or is_gate(found):
        raise IncompatibleExpert(
            f"expert {name!r} changes {path!r}, a part of a mixture of experts, so nothing can be trained "
            "on top of it: fold it into the base model (lorary.fold) and train on that"
        )
    return found


class _Adder:
    """A forward hook of a layer that adds an expert's output.

    Args:
        layer: the layer.
        a: ``[R, I]``.
        b: ``[O, R]``.
    """

    def __init__(self, layer: nn.Module, a: Tensor, b: Tensor):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        # As in the stacks of a model that uses the expert.
        dtype = weight.dtype if weight.is_floating_point() else torch.bfloat16
        self._a = a.detach().to(weight.device, dtype)[None].contiguous()
        self._b_t = b.detach().T.to(weight.device, dtype)[None].contiguous()

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        """Return the layer's output ``[*, O]`` with that of the expert."""
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        indices = torch.zeros(len(x), 1, dtype=torch.int64, device=x.device)
        onto = y.reshape(-1, y.shape[-1])
        added = mix_stacks(x, self._a, self._b_t, indices, x.new_ones(len(x), 1), "outputs", onto, None)
        return added.view(y.shape)
