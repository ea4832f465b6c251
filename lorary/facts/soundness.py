"""Checks of artifacts that were stored in a library or in the cache folder.

Someone else may have written or damaged them. So each is compared with the model's layers and the expert
before it is used. Plausible numbers that were computed from another expert cannot be detected.

R rank of an expert at a layer, I layer input.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert
from lorary.files import parse_json_object, quote
from lorary.models import ExpertStack

Artifact = Mapping[str, Tensor]
"""Named tensors."""
Layout = Mapping[str, int]
"""Module path -> number of its values in the joined tensor; the order is that of the tensor."""


class KnownExperts(Protocol):
    """The experts that artifacts are compared with."""

    def find_shapes(self, name: str) -> Mapping[str, tuple[int, int]]:
        """Return an expert's R and I by module path."""
        ...

    def find_width(self, path: str, found: int) -> int | None:
        """Return a layer's I, to be compared with ``found``; None if there is no such layer."""
        ...

    def adds_nothing(self, name: str, path: str) -> bool:
        """Return whether an expert's change of a layer is zero."""
        ...


class CarriedExperts:
    """Experts on a model; nothing is read from their library."""

    def __init__(self, stack: ExpertStack):
        self._stack = stack
        self._ranks = {path: layer.list_ranks() for path, layer in stack.layers.items()}

    def find_shapes(self, name: str) -> Mapping[str, tuple[int, int]]:
        """Return an expert's R and I by module path."""
        index, layers = self._stack.index(name), self._stack.layers
        return {
            path: (ranks[index], layers[path].a.shape[2])
            for path, ranks in self._ranks.items()
            if ranks[index]
        }

    def find_width(self, path: str, found: int) -> int | None:
        """Return a layer's I; None if the model has no experts there."""
        return self._stack.layers[path].a.shape[2] if path in self._stack.layers else None

    def adds_nothing(self, name: str, path: str) -> bool:
        """Return whether an expert's change of a layer is zero."""
        index, layer = self._stack.index(name), self._stack.layers[path]
        return is_zero(layer.a[index], layer.b[index])


class StoredExperts:
    """Experts of a library or another mapping, without a model."""

    def __init__(self, experts: Mapping[str, Expert]):
        self._experts = experts

    def find_shapes(self, name: str) -> Mapping[str, tuple[int, int]]:
        """Return an expert's R and I by module path."""
        return {path: (pair.rank, pair.a.shape[1]) for path, pair in self._experts[name].outlines.items()}

    def find_width(self, path: str, found: int) -> int | None:
        """Return ``found``, since a library has no shapes of the base model to compare with."""
        return found

    def adds_nothing(self, name: str, path: str) -> bool:
        """Return whether an expert's change of a layer is zero."""
        return is_zero(*self._experts[name].factors[path])


def read_layout(artifact: Artifact) -> Layout:
    """Return the layout of an artifact's joined tensors.

    Raises:
        FormatError: if it is not a JSON object of integers of at least 1.
    """
    return _parse_layout(artifact["layout"].numpy().tobytes())


# Experts of one training recipe share one layout, so few layouts are parsed.
@lru_cache(maxsize=64)
def _parse_layout(content: bytes) -> Layout:
    layout = parse_json_object(content, "layout")
    for path, size in layout.items():
        if type(size) is not int or size < 1:
            raise FormatError(
                f"a layout must have integers of at least 1, found {quote(size)} for {quote(path)}"
            )
    return layout


def read_any_layout(artifact: Artifact) -> Layout | None:
    """Return an artifact's layout; None if it is missing or invalid."""
    layout = artifact.get("layout")
    if layout is None or layout.dtype != torch.uint8 or layout.dim() != 1:
        return None
    try:
        return read_layout(artifact)
    except FormatError:
        return None


def has_form(artifact: Artifact, sizes: Mapping[str, tuple[int, ...]], *, has_layout: bool = True) -> bool:
    """Return whether an artifact has exactly these tensors, finite and float32, and a layout if asked."""
    return artifact.keys() == sizes.keys() | ({"layout"} if has_layout else set()) and all(
        artifact[name].dtype == torch.float32
        and tuple(artifact[name].shape) == shape
        and bool(artifact[name].isfinite().all())
        for name, shape in sizes.items()
    )


def is_zero(a: Tensor, b: Tensor) -> bool:
    """Return whether ``b @ a`` is zero."""
    # If the product is zero, one factor usually is. In float64 products of tiny numbers do not underflow.
    return not (bool(a.any()) and bool(b.any()) and bool((b.double() @ a.double()).any()))
