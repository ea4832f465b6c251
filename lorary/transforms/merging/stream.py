"""Reading the layers of many experts one after the other, with bounded memory.

Shape letters: I layer input, O layer output.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert, Factors
from lorary.transforms.merging.survey import LayerOutline

# Bytes of factors in memory at a time. Each expert is opened once per group of layers of this size.
HELD_BYTES = 2**32


def group_layers(layers: Sequence[LayerOutline], held_bytes: int = HELD_BYTES) -> list[list[LayerOutline]]:
    """Put layers into groups whose factors, of all experts, have at most ``held_bytes``.

    A larger layer is a separate group.
    """
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
    """Read the factors of one layer after the other.

    Experts are opened one at a time. The factors of a group of layers are copied and the expert is closed, so
    only this group of experts in files is in memory.

    Args:
        experts: a library or any other mapping.
        names: the experts to read.
        layers: the layers to read.

    Yields:
        Each layer with one pair of factors per expert, float64 if any factor of the layer is, else float32.
        An expert without the layer has zeros of rank 1.

    Raises:
        FormatError: if a factor has NaN or infinite values.
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
                f"an expert's weights must be finite, but expert {name!r} has NaN or infinite values in "
                f"{letter} of module {path!r}: train it again or leave it out"
            )
    # A copy, because a view of a memory-mapped file would keep the file's pages in memory.
    return Factors(pair.a.detach().clone(), pair.b.detach().clone())


def _is_finite(factor: Tensor) -> bool:
    # Minimum and maximum are NaN if any value is; this needs no mask of the factor's size.
    return all(bound.isfinite() for bound in factor.aminmax())


def _unify(layer: LayerOutline, pairs: Sequence[Factors | None]) -> tuple[Factors, ...]:
    dtype = torch.promote_types(layer.dtype, torch.float32)
    nothing = Factors(torch.zeros(1, layer.inputs, dtype=dtype), torch.zeros(layer.outputs, 1, dtype=dtype))
    return tuple(nothing if pair is None else Factors(pair.a.to(dtype), pair.b.to(dtype)) for pair in pairs)
