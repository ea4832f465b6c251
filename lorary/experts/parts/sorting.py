"""Operations on the parts of an expert of all kinds."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lorary.experts.parts.contract import Part
from lorary.experts.parts.table import KINDS
from lorary.files import quote


def sort_parts(name: str, parts: Any) -> dict[str, tuple[Part, ...]]:
    """Check the parts of an expert and return them, those of a module in the order of ``KINDS``.

    Args:
        name: the expert's name, for messages.
        parts: module path -> its parts.

    Raises:
        TypeError: if it is not a mapping of paths to tuples of parts.
        ValueError: if a module has two parts of a kind.
    """
    if not isinstance(parts, Mapping):
        raise TypeError(f"expert {name!r}: parts must map module paths to parts, found {quote(parts, 60)}")
    order = list(KINDS)
    found = {}
    for path, own in parts.items():
        if not isinstance(path, str) or not isinstance(own, tuple | list) or not own:
            raise TypeError(
                f"expert {name!r}: parts must map module paths to parts, found {quote(path, 60)}: "
                f"{quote(own, 60)}"
            )
        unknown = [part for part in own if not isinstance(part, tuple(KINDS.values()))]
        if unknown:
            raise TypeError(
                f"expert {name!r}, module {quote(path)}: a part must be of a kind in KINDS, found "
                f"{type(unknown[0]).__name__}"
            )
        kinds = [part.kind for part in own]
        if len(set(kinds)) < len(kinds):
            raise ValueError(
                f"expert {name!r}, module {quote(path)}: it must have one part of a kind, found "
                f"{', '.join(kinds)}"
            )
        found[path] = tuple(sorted(own, key=lambda part: order.index(part.kind)))
    return found


def list_kinds(parts: Mapping[str, tuple[Part, ...]]) -> list[str]:
    """List the kinds of some parts, in the order of ``KINDS``."""
    if not parts:
        return []
    found = {part.kind for own in parts.values() for part in own}
    return [kind for kind in KINDS if kind in found]


def list_tensors(parts: Mapping[str, tuple[Part, ...]]) -> Iterator[Tensor]:
    """Yield all floating-point tensors of some parts."""
    for own in parts.values():
        for part in own:
            yield from (tensor for tensor in part.tensors.values() if tensor.is_floating_point())


def cast_part(part: Part, dtype: torch.dtype) -> Part:
    """Return a part with its floating-point tensors in another dtype."""
    tensors = {
        field: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for field, tensor in part.tensors.items()
    }
    return part.replace_tensors(tensors)
