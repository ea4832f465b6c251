"""Checks of mergekit's ``slices``: ranges of blocks, which must keep the order of the blocks."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.files import quote

FRANKENMERGE = (
    "frankenmerges, which change the number or order of blocks, are not supported, because the merged expert "
    "is for the same base model"
)


def check_slices(slices: Any) -> list[str]:
    """Return faults of the form of slices, or else of the order of their blocks.

    Args:
        slices: the value of a recipe's key ``slices``.
    """
    if not isinstance(slices, list) or not slices:
        return [f"slices must be a list of {{sources, parameters}}, found {quote(slices)}"]
    faults = [fault for part in slices if (fault := _find_form_fault(part))]
    return faults or [fault for fault in [_find_order_fault(slices)] if fault]


def _find_form_fault(part: Any) -> str | None:
    sources = part.get("sources") if isinstance(part, Mapping) else None
    if not isinstance(sources, list) or not sources:
        return f"each slice must have a list of sources, found {quote(part)}"
    for source in sources:
        if not isinstance(source, Mapping) or not isinstance(source.get("model"), str):
            return f"each source must be {{model: name, layer_range: [first, end]}}, found {quote(source)}"
        if not _is_range(source.get("layer_range")):
            return (
                f"layer_range of {quote(source['model'])} must be the first block and the number after the "
                f"last block, found {quote(source.get('layer_range'))}"
            )
    return None


def _is_range(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
    return is_pair and 0 <= value[0] < value[1]


def _find_order_fault(slices: Sequence[Mapping[str, Any]]) -> str | None:
    end = 0
    for part in slices:
        ranges = [source["layer_range"] for source in part["sources"]]
        if any(range_ != ranges[0] for range_ in ranges):
            return (
                f"sources of a slice must have the same layer_range, found {quote(ranges[0])} and "
                f"{quote(ranges[-1])}: {FRANKENMERGE}"
            )
        if ranges[0][0] != end:
            return (
                f"slices must cover all blocks in order, found block {ranges[0][0]} instead of {end}: "
                f"{FRANKENMERGE}"
            )
        end = ranges[0][1]
    return None
