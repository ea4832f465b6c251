"""Parts in a file, whose values are read at the first access."""

from collections.abc import Iterator, Mapping
from functools import cached_property

from lorary.experts.parts.collect import build_parts
from lorary.experts.parts.contract import Part
from lorary.experts.peft_config import AdapterConfig
from lorary.experts.stored_factors import StoredFactors


class StoredParts(Mapping[str, tuple[Part, ...]]):
    """Module path -> parts of a file, whose values are read at the first access.

    Args:
        factors: the factors in the same file, which check its hash and values.
        config: configuration of the adapter.
    """

    def __init__(self, factors: StoredFactors, config: AdapterConfig):
        self.factors = factors
        self._config = config

    @property
    def outlines(self) -> Mapping[str, tuple[Part, ...]]:
        """The same parts on the meta device, with shapes and dtypes only."""
        return self.factors.layout.part_outlines

    def __getitem__(self, path: str) -> tuple[Part, ...]:
        """Return one module's parts.

        Raises:
            KeyError: if there are none.
            FormatError: if the file has another SHA-256, NaN or infinite values, or values that make no part.
        """
        return self._values[path]

    def rename_modules(self, paths: Mapping[str, str]) -> "StoredParts":
        """Return the same parts with other module paths, without reading values.

        Args:
            paths: path of each module -> new path.
        """
        return StoredParts(self.factors.rename_modules(paths), self._config)

    def __contains__(self, path: object) -> bool:
        return path in self.outlines

    def __iter__(self) -> Iterator[str]:
        return iter(self.outlines)

    def __len__(self) -> int:
        return len(self.outlines)

    @cached_property
    def _values(self) -> dict[str, tuple[Part, ...]]:
        layout = self.factors.layout
        return build_parts(
            layout.part_names, self.factors.check(), self._config, layout.part_scales, self.factors.file
        )
