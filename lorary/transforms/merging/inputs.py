"""Inputs of the experts' layers, for methods such as ``regmean``.

Inputs are collected on a model. Its module paths can differ from those in experts' files, see
``lorary.experts.text_model``.

Shape letters: E experts, N inputs, I layer input.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from lorary.experts.text_model import leave_out_text_model
from lorary.files import say_count
from lorary.transforms.merging.survey import LayerOutline


class LayerInputs:
    """Gram matrices of each expert's inputs, by module path.

    Args:
        grams: module path -> ``[E, I, I]``, the sums of ``x x^T`` over each expert's inputs ``x [I]``; or
            None.
        activations: module path -> one ``[N, I]`` per expert, its inputs; or None.

    Raises:
        ValueError: if both or none of the two are given.
    """

    def __init__(
        self, grams: Mapping[str, Tensor] | None, activations: Mapping[str, Sequence[Tensor]] | None
    ):
        if (grams is None) == (activations is None):
            raise ValueError(
                "this method needs the inputs of the experts' layers: pass lorary.merge either grams "
                "(module path -> [E, I, I]) or activations (module path -> one [N, I] per expert)"
            )
        self._grams = grams
        self._activations = activations
        self._paths: dict[str, str | None] = {}
        for path in grams if grams is not None else activations or ():
            short = leave_out_text_model(path)
            self._paths[short] = None if short in self._paths else path

    def check(self, layers: Sequence[LayerOutline], num_experts: int) -> None:
        """Check that the inputs have the shapes of the merged layers.

        Raises:
            ValueError: with the layers whose inputs are missing or have another shape, at most three of them.
        """
        faults = [fault for layer in layers if (fault := self._find_fault(layer, num_experts))]
        if faults:
            more = f" (and {say_count(len(faults) - 3, 'more module')})" if len(faults) > 3 else ""
            raise ValueError(f"inputs of the merged layers: {'; '.join(faults[:3])}{more}")

    def compute_grams(self, path: str) -> Tensor:
        """Return one layer's Gram matrices, ``[E, I, I]``."""
        if self._grams is not None:
            return self._grams[self._find_path(self._grams, path)]
        assert self._activations is not None
        found = self._activations[self._find_path(self._activations, path)]
        return torch.stack([inputs.double().mT @ inputs.double() for inputs in found])

    def _find_path(self, given: Collection[str], path: str) -> str:
        """Return the key of a layer's inputs, which may have the path of the layer in another model class."""
        return path if path in given else self._paths.get(leave_out_text_model(path)) or path

    def _find_fault(self, layer: LayerOutline, num_experts: int) -> str | None:
        width = layer.inputs
        if self._grams is not None:
            found = self._grams.get(self._find_path(self._grams, layer.path))
            if found is None or found.shape != (num_experts, width, width):
                shape = "nothing" if found is None else list(found.shape)
                return f"grams of {layer.path!r} must be [{num_experts}, {width}, {width}], found {shape}"
            return None
        assert self._activations is not None
        inputs = self._activations.get(self._find_path(self._activations, layer.path), ())
        shapes = [list(tensor.shape) for tensor in inputs]
        if len(shapes) != num_experts or any(len(shape) != 2 or shape[1] != width for shape in shapes):
            return f"activations of {layer.path!r} must be {num_experts} of [N, {width}], found {shapes}"
        return None
