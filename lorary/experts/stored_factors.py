"""Factors that lie in a file, whose numbers are read only when they are used.

R rank, I layer input, O layer output.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.adapter_layout import AdapterLayout, rename_layout
from lorary.experts.checked_files import remember_checked, was_checked
from lorary.experts.factors import Factors, is_finite, refuse_not_finite
from lorary.experts.peft_scale import fold_scale
from lorary.experts.weights_file import StoredTensors
from lorary.files import quote


class StoredFactors(Mapping[str, Factors]):
    """Module path -> factors of a mapped file: names and shapes are known, the numbers not yet looked at.

    Whoever asks for any factors first has all numbers of the file looked through and PEFT's scale folded in.
    So a library's experts can be listed and matched with a base model without reading their weights, and a
    number that is not finite, or of a file that is not what was stored, still never gets out.

    Args:
        weights: the file's tensors.
        layout: which of them are whose factors.
        name: the expert's, for messages.
        file: the file's path, for messages.
        sha256: hash of the file as it was stored; None if nobody noted it.
    """

    def __init__(
        self,
        weights: StoredTensors,
        layout: AdapterLayout,
        *,
        name: str,
        file: str,
        sha256: str | None = None,
    ):
        self.weights = weights
        self.layout = layout
        self._name = name
        self._file = file
        self._sha256 = sha256

    def __getitem__(self, path: str) -> Factors:
        """Give one module's factors.

        Raises:
            KeyError: if there are none.
            FormatError: if the file is not what was stored, or any of its numbers is NaN or infinite, naming
                the module it belongs to.
        """
        return self._values[path]

    def rename_modules(self, paths: Mapping[str, str]) -> "StoredFactors":
        """Give the same factors for modules of other paths; nothing more is read.

        Args:
            paths: each module's path -> its new one.
        """
        layout = rename_layout(self.layout, tuple(paths.items()))
        return StoredFactors(self.weights, layout, name=self._name, file=self._file, sha256=self._sha256)

    def copy_numbers(self, out: Tensor) -> None:
        """Copy all numbers of a file that is one flat tensor into ``out [N]``; they may not be finite.

        Raises:
            FormatError: if the file is not what was stored.
        """
        is_unchanged = self.weights.copy_block(out)
        self._check_hash(is_unchanged, out)

    def __contains__(self, path: object) -> bool:
        return path in self.layout.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)

    @cached_property
    def _values(self) -> Mapping[str, Factors]:
        self._check_hash(self.weights.is_unchanged())
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

    def _check_hash(self, is_unchanged: bool, numbers: Tensor | None = None) -> None:
        """Refuse a file that is not what was stored; one that was looked at before and did not change is."""
        identity = self.weights.identity if is_unchanged else None
        if self._sha256 is None or (identity and was_checked(identity, self._sha256)):
            return
        found = self.weights.compute_hash(numbers)
        if found != self._sha256:
            raise FormatError(
                f"expert {self._name!r}: {quote(self._file)} is not what was stored: expert.json says "
                f"SHA-256 {self._sha256}, found {found}: restore the file, add the expert again, or, if you "
                "changed it on purpose, remove 'weights_sha256' from expert.json"
            )
        if identity:
            remember_checked(identity, self._sha256)
