"""Layers of many experts one after the other, without ever holding all of the experts.

Shape letters: I layer input, O layer output.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert, Factors
from lorary.transforms.merging.survey import LayerOutline

# Factors held at a time. Each time they are fetched, every expert is opened once: more bytes, fewer rounds.
HELD_BYTES = 2**32


def group_layers(layers: Sequence[LayerOutline], held_bytes: int = HELD_BYTES) -> list[list[LayerOutline]]:
    """Put layers into groups whose factors, of all experts, may be held together; one layer always may."""
    groups: list[list[LayerOutline]] = []
    room = 0
    for layer in layers:
        if not groups or layer.num_bytes > room:
            groups.append([])
            room = held_bytes
        groups[-1].append(layer)
        room -= layer.num_bytes
    return groups


def stream_layers(
    experts: Mapping[str, Expert], names: Sequence[str], layers: Sequence[LayerOutline]
) -> Iterator[tuple[LayerOutline, tuple[Factors, ...]]]:
    """Fetch the factors of one layer after the other.

    Experts are opened one at a time, and closed once the factors of some layers have been copied: of experts
    that lie in a file no more is held than of those layers.

    Args:
        experts: a library or any other mapping.
        names: the experts to fetch.
        layers: the layers to fetch.

    Yields:
        Each layer with one pair of factors per expert, float64 where any is, else float32; an expert without
        the layer has zeros of rank 1.

    Raises:
        FormatError: if a factor is not finite.
    """
    for group in group_layers(layers):
        held: dict[str, list[Factors | None]] = {layer.path: [] for layer in group}
        for name in names:
            factors = experts[name].factors
            for layer in group:
                pair = factors.get(layer.path)
                held[layer.path].append(None if pair is None else _copy(name, layer.path, pair))
        for layer in group:
            yield layer, _unify(layer, held.pop(layer.path))


def _copy(name: str, path: str, pair: Factors) -> Factors:
    for letter, factor in zip("ab", pair, strict=True):
        if not _is_finite(factor):
            raise FormatError(
                f"an expert's weights must be finite, but expert {name!r} has NaN or infinite ones in "
                f"{letter} of module {path!r}: train it again or leave it out"
            )
    # A copy, because a view of a mapped file would keep the file's pages.
    return Factors(pair.a.detach().clone(), pair.b.detach().clone())


def _is_finite(factor: Tensor) -> bool:
    # The extremes are NaN if any number is.
    return all(bound.isfinite() for bound in factor.aminmax())


def _unify(layer: LayerOutline, pairs: Sequence[Factors | None]) -> tuple[Factors, ...]:
    dtype = torch.promote_types(layer.dtype, torch.float32)
    nothing = Factors(torch.zeros(1, layer.inputs, dtype=dtype), torch.zeros(layer.outputs, 1, dtype=dtype))
    return tuple(nothing if pair is None else Factors(pair.a.to(dtype), pair.b.to(dtype)) for pair in pairs)
