"""What each expert's layers were given, for methods that look at it.

Shape letters: E experts, N inputs, I layer input.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lorary.transforms.merging.survey import LayerOutline


class LayerInputs:
    """Gram matrices of the inputs that experts saw, by module path.

    Args:
        grams: path -> ``[E, I, I]``, each the sum of ``x x^T`` over an expert's inputs ``x [I]``; or None.
        activations: path -> for each expert its inputs ``[N, I]``; or None.

    Raises:
        ValueError: if not exactly one of the two is given.
    """

    def __init__(
        self, grams: Mapping[str, Tensor] | None, activations: Mapping[str, Sequence[Tensor]] | None
    ):
        if (grams is None) == (activations is None):
            raise ValueError(
                "this method looks at what the experts' layers were given: pass lorary.merge either grams "
                "(module path -> [E, I, I]) or activations (module path -> one [N, I] per expert)"
            )
        self._grams = grams
        self._activations = activations

    def check(self, layers: Sequence[LayerOutline], num_experts: int) -> None:
        """Refuse what does not fit the layers that are merged.

        Raises:
            ValueError: naming all layers whose inputs are missing or of another shape.
        """
        faults = [fault for layer in layers if (fault := self._find_fault(layer, num_experts))]
        if faults:
            more = f" (and {len(faults) - 3} more modules)" if len(faults) > 3 else ""
            raise ValueError(f"inputs of the merged layers: {'; '.join(faults[:3])}{more}")

    def compute_grams(self, path: str) -> Tensor:
        """Give one layer's Gram matrices, ``[E, I, I]``."""
        if self._grams is not None:
            return self._grams[path]
        assert self._activations is not None
        return torch.stack([inputs.double().mT @ inputs.double() for inputs in self._activations[path]])

    def _find_fault(self, layer: LayerOutline, num_experts: int) -> str | None:
        width = layer.inputs
        if self._grams is not None:
            found = self._grams.get(layer.path)
            if found is None or found.shape != (num_experts, width, width):
                shape = "nothing" if found is None else list(found.shape)
                return f"grams of {layer.path!r} must be [{num_experts}, {width}, {width}], found {shape}"
            return None
        assert self._activations is not None
        inputs = self._activations.get(layer.path, ())
        shapes = [list(tensor.shape) for tensor in inputs]
        if len(shapes) != num_experts or any(len(shape) != 2 or shape[1] != width for shape in shapes):
            return f"activations of {layer.path!r} must be {num_experts} of [N, {width}], found {shapes}"
        return None
