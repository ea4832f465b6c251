"""Factors that lie in a file, whose numbers are read only when they are used.

R rank, I layer input, O layer output.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

from lorary.experts.adapter_layout import AdapterLayout
from lorary.experts.factors import Factors, is_finite, refuse_not_finite
from lorary.experts.peft_scale import fold_scale
from lorary.experts.weights_file import StoredTensors


class StoredFactors(Mapping[str, Factors]):
    """Module path -> factors of a mapped file: names and shapes are known, the numbers not yet looked at.

    Whoever asks for any factors first has all numbers of the file looked through and PEFT's scale folded in.
    So a library's experts can be listed and matched with a base model without reading their weights, and a
    number that is not finite still never gets out.

    Args:
        weights: the file's tensors.
        layout: which of them are whose factors.
        name: the expert's, for messages.
        file: the file's path, for messages.
    """

    def __init__(self, weights: StoredTensors, layout: AdapterLayout, *, name: str, file: str):
        self.weights = weights
        self.layout = layout
        self._name = name
        self._file = file

    def __getitem__(self, path: str) -> Factors:
        """Give one module's factors.

        Raises:
            KeyError: if there are none.
            FormatError: if any number of the file is NaN or infinite, naming the module it belongs to.
        """
        return self._values[path]

    def __contains__(self, path: object) -> bool:
        return path in self.layout.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)

    @cached_property
    def _values(self) -> Mapping[str, Factors]:
        tensors, scales = self.weights.tensors, self.layout.scales
        stored = {path: Factors(tensors[a], tensors[b]) for path, (a, b) in self.layout.names.items()}
        # In one go: asking tensor by tensor takes four times as long.
        if not all(is_finite(block) for block in self.weights.blocks if block.numel()):
            refuse_not_finite(self._name, stored, self._file)
        scaled = {
            path: Factors(pair.a, fold_scale(pair.b, scales[path]))
            for path, pair in stored.items()
            if scales[path] != 1
        }
        refuse_not_finite(self._name, scaled, self._file)
        return stored | scaled
