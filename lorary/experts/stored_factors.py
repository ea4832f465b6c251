"""Factors in a file, whose values are read at the first access.

R rank, I layer input, O layer output.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property

from torch import Tensor

from lorary.errors import FormatError
from lorary.experts.adapter_layout import AdapterLayout, rename_layout
from lorary.experts.checked_files import remember_checked, was_checked
from lorary.experts.factors import Factors, is_finite, refuse_not_finite, refuse_tensors
from lorary.experts.peft_scale import fold_scale
from lorary.experts.weights_file import StoredTensors
from lorary.files import quote


class LazyFactors(Mapping[str, Factors]):
    """Module path -> factors whose shapes are known before their values are read."""

    @property
    @abstractmethod
    def outlines(self) -> Mapping[str, Factors]:
        """Factors on the meta device, for shapes and dtypes only."""

    @abstractmethod
    def rename_modules(self, paths: Mapping[str, str]) -> "LazyFactors":
        """Return the same factors with other module paths, without reading values.

        Args:
            paths: path of each module -> new path.
        """


class StoredFactors(LazyFactors):
    """Module path -> factors of a mapped file, whose values are read at the first access.

    The first access checks the file's SHA-256 and that all values are finite, and folds in PEFT's scale. So
    experts can be listed and matched with a base model without reading their weights, and unchecked values
    are never returned.

    Args:
        weights: tensors of the file.
        layout: the factors of each module among these tensors.
        name: name of the expert, for messages.
        file: path of the file, for messages.
        sha256: hash of the stored file; None if it is unknown.
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
        self.file = file
        self.sha256 = sha256
        """Hash of the stored file, which is checked when values are first read; None if it is unknown."""

    @property
    def outlines(self) -> Mapping[str, Factors]:
        """Factors on the meta device, for shapes and dtypes only."""
        return self.layout.outlines

    def __getitem__(self, path: str) -> Factors:
        """Return one module's factors.

        Raises:
            KeyError: if there are none.
            FormatError: if the file has another SHA-256, or NaN or infinite values.
        """
        return self._values[path]

    def rename_modules(self, paths: Mapping[str, str]) -> "StoredFactors":
        """Return the same factors with other module paths, without reading values.

        Args:
            paths: path of each module -> new path.
        """
        layout = rename_layout(self.layout, tuple(paths.items()))
        return StoredFactors(self.weights, layout, name=self._name, file=self.file, sha256=self.sha256)

    def copy_numbers(self, out: Tensor) -> None:
        """Copy all N values of a file that is one flat tensor into ``out [N]``; they can be NaN or infinite.

        Raises:
            FormatError: if the file has another SHA-256.
        """
        is_unchanged = self.weights.copy_block(out)
        self._check_hash(is_unchanged, out)

    def __contains__(self, path: object) -> bool:
        return path in self.layout.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)

    def check(self) -> Mapping[str, Tensor]:
        """Return all tensors of the file, by name; at the first call they are checked.

        Raises:
            FormatError: if the file has another SHA-256, or NaN or infinite values.
        """
        return self._checked

    @cached_property
    def _checked(self) -> Mapping[str, Tensor]:
        self._check_hash(self.weights.is_unchanged())
        tensors = self.weights.tensors
        # The whole block at once, because a check of each tensor takes four times as long.
        if not all(is_finite(block) for block in self.weights.blocks if block.numel()):
            refuse_not_finite(self._name, self._pair(tensors), self.file)
            for path, kinds in self.layout.part_names.items():
                refuse_tensors(
                    self._name,
                    {
                        f"{field} of module {quote(path)}": tensors[name]
                        for own in kinds.values()
                        for field, name in own.items()
                    },
                    self.file,
                )
        return tensors

    def _pair(self, tensors: Mapping[str, Tensor]) -> dict[str, Factors]:
        return {path: self.layout.take(tensors, path) for path in self.layout.names}

    @cached_property
    def _values(self) -> Mapping[str, Factors]:
        stored, scales = self._pair(self.check()), self.layout.scales
        scaled = {
            path: Factors(pair.a, fold_scale(pair.b, scales[path]))
            for path, pair in stored.items()
            if scales[path] != 1
        }
        refuse_not_finite(self._name, scaled, self.file)
        return stored | scaled

    def _check_hash(self, is_unchanged: bool, numbers: Tensor | None = None) -> None:
        """Check the SHA-256 of the file, unless it was checked before and has not changed."""
        identity = self.weights.identity if is_unchanged else None
        if self.sha256 is None or (identity and was_checked(identity, self.sha256)):
            return
        found = self.weights.compute_hash(numbers)
        if found != self.sha256:
            raise FormatError(
                f"expert {self._name!r}: {quote(self.file)} has changed since it was stored: "
                f"expert.json has SHA-256 {self.sha256}, found {found}: restore the file, add the expert "
                "again, or, if you changed it on purpose, remove 'weights_sha256' from expert.json"
            )
        if identity:
            remember_checked(identity, self.sha256)
