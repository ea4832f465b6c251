"""Sub-layers of a mixture of experts whose weights are stacked in one parameter.

``transformers`` stores the weights of a mixture's N sub-layers as 3-D parameters of one module. Here a
sub-layer is a linear layer, whose weight is a view of the parameter. Paths are those of
``lorary.experts.stacked_parameters``.

N sub-layers, I layer input, O layer output.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from lorary.errors import IncompatibleExpert
from lorary.experts import Factors
from lorary.experts.stacked_parameters import Entry


class StackedLayer(nn.Module):
    """One sub-layer, as a linear layer ``[*, I] -> [*, O]``.

    It has no parameters of its own, so it follows its module to other devices and dtypes.

    Args:
        owner: the module with the stacked parameter.
        entry: the sub-layer.
    """

    def __init__(self, owner: nn.Module, entry: Entry):
        super().__init__()
        # In a tuple, because the owner is registered elsewhere in the model.
        self._owner = (owner,)
        self._name, self._index = entry.parameter, entry.index
        self.in_features, self.out_features = stacked_shape(owner, entry.parameter)

    @property
    def weight(self) -> Tensor:
        """The weight, ``[O, I]``, a view."""
        weight: Tensor = getattr(self._owner[0], self._name)[self._index]
        return weight.T if is_transposed(self._owner[0]) else weight

    @property
    def bias(self) -> Tensor | None:
        """The bias, ``[O]``, a view; None if the mixture has none."""
        biases: Tensor | None = getattr(self._owner[0], f"{self._name}_bias", None)
        return None if biases is None else biases[self._index]

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to ``[*, I]``, giving ``[*, O]``."""
        return nn.functional.linear(x, self.weight, self.bias)


def is_transposed(owner: nn.Module) -> bool:
    """Return whether a module's stacked parameters are ``[N, I, O]`` instead of ``[N, O, I]``."""
    return bool(getattr(owner, "is_transposed", False))


def stacked_shape(owner: nn.Module, parameter: str) -> tuple[int, int]:
    """Return the input and output width ``(I, O)`` of a stacked parameter's sub-layers."""
    rows, columns = getattr(owner, parameter).shape[1:]
    return (rows, columns) if is_transposed(owner) else (columns, rows)


def find_owner(modules: Mapping[str, nn.Module], entry: Entry) -> nn.Module | None:
    """Return the module that has a sub-layer; None if the model has no such sub-layer."""
    owner = modules.get(f"{entry.module}.base", modules.get(entry.module))
    stacked = getattr(owner, entry.parameter, None)
    if isinstance(stacked, nn.Parameter) and stacked.ndim == 3 and entry.index < len(stacked):
        return owner
    return None


def add_to_stacked(owner: nn.Module, entries: Mapping[Entry, Factors]) -> None:
    """Add weight changes ``b @ a`` to a module's stacked parameters, summed in float32 and rounded once.

    Args:
        owner: the module, changed in place.
        entries: sub-layer -> factors.

    Raises:
        IncompatibleExpert: if the weights are quantised.
    """
    for name in dict.fromkeys(entry.parameter for entry in entries):
        stacked = getattr(owner, name)
        if not stacked.is_floating_point():
            raise IncompatibleExpert(
                f"weights must be floating-point numbers to be changed, found {stacked.dtype}: load the "
                "base model without quantisation"
            )
        changed = stacked.detach().clone()
        for entry, pair in entries.items():
            if entry.parameter == name:
                a, b = (factor.to(stacked.device).float() for factor in pair)
                change = (b @ a).T if is_transposed(owner) else b @ a
                changed[entry.index] = (changed[entry.index].float() + change).to(stacked.dtype)
        setattr(owner, name, nn.Parameter(changed, requires_grad=stacked.requires_grad))
