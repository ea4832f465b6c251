"""Factors that lie in a file, whose numbers are read only when they are used."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from torch import Tensor

from lorary.experts.factors import Factors, is_finite, refuse_not_finite
from lorary.experts.peft_scale import fold_scale


class StoredFactors(Mapping[str, Factors]):
    """Module path -> factors of a mapped file: names and shapes are known, the numbers not yet looked at.

    Whoever asks for any factors first has all numbers of the file looked through and PEFT's scale folded in.
    So a library's experts can be listed and matched with a base model without reading their weights, and a
    number that is not finite still never gets out.

    Args:
        stored: module path -> factors as they lie in the file, without the scale; their shapes are sound.
        scales: module path -> what PEFT multiplies ``b @ a`` with.
        blocks: the file's numbers once more, in as few flat tensors as possible.
        name: the expert's, for messages.
        file: the file's path, for messages.
    """

    def __init__(
        self,
        stored: Mapping[str, Factors],
        scales: Mapping[str, float],
        *,
        blocks: Sequence[Tensor],
        name: str,
        file: str,
    ):
        self.stored = stored
        self._scales = scales
        self._blocks = blocks
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
        return path in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    @cached_property
    def _values(self) -> Mapping[str, Factors]:
        # In one go: asking tensor by tensor takes four times as long.
        if not all(map(is_finite, self._blocks)):
            refuse_not_finite(self._name, self.stored, self._file)
        scaled = {
            path: Factors(pair.a, fold_scale(pair.b, self._scales[path]))
            for path, pair in self.stored.items()
            if self._scales[path] != 1
        }
        refuse_not_finite(self._name, scaled, self._file)
        return {path: scaled.get(path, pair) for path, pair in self.stored.items()}
