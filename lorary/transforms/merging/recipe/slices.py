"""Recipes block by block: mergekit's ``slices``, as far as they merge and do not stack blocks anew."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.files import quote

FRANKENMERGE = (
    "this is a frankenmerge, which builds a model of another depth or order of blocks; experts are merged "
    "block by block into one for the same base model"
)


def check_slices(slices: Any) -> list[str]:
    """Say what is wrong with the form of slices, and whether they stack blocks anew.

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
        return f"every slice must have a list of sources, found {quote(part)}"
    for source in sources:
        if not isinstance(source, Mapping) or not isinstance(source.get("model"), str):
            return f"every source must be {{model: name, layer_range: [first, end]}}, found {quote(source)}"
        if not _is_range(source.get("layer_range")):
            return (
                f"layer_range of {quote(source['model'])} must be the first block and the one after the "
                f"last, found {quote(source.get('layer_range'))}"
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
            return f"slices join blocks {quote(ranges[0])} with {quote(ranges[-1])}: {FRANKENMERGE}"
        if ranges[0][0] != end:
            return (
                f"slices must cover all blocks in order, found block {ranges[0][0]} where {end} is next: "
                f"{FRANKENMERGE}"
            )
        end = ranges[0][1]
    return None
