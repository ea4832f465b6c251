"""Where in the model each module is: in which block, and how deep."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
# Modules before the first block; others outside of the blocks, such as the output layer, are behind the last.
_BEFORE = re.compile(r"(?:^|[._])(?:embed(?!_out)\w*|wte|wpe|patch_\w+|word_embeddings?)(?:\.|$)")


class Place(NamedTuple):
    """Where a module is."""

    tower: str
    """The path of the list of blocks it is in, such as ``model.layers``; empty outside of blocks."""
    block: int | None
    """The number of its block; None outside of blocks."""
    is_before: bool
    """It is before the first block."""


def parse_place(path: str) -> Place:
    """Find the block that a module is in from the first number in its path."""
    found = _NUMBER.search(path)
    if found is None:
        return Place("", None, _BEFORE.search(path) is not None)
    return Place(path[: found.start()], int(found[1]), False)


def compute_depths(paths: Iterable[str], num_blocks: int | None = None) -> dict[str, float]:
    """Say how deep each module's block is in the model.

    Args:
        paths: the modules.
        num_blocks: how many blocks the base model has; None takes what the paths themselves show. Of a model
            with several lists of blocks, such as encoder and decoder, each is counted by its paths.

    Returns:
        Path -> 0 for the first block and what is before it, 1 for the last block and what is behind it.
    """
    places = {path: parse_place(path) for path in paths}
    counts: dict[str, int] = defaultdict(int)
    for place in places.values():
        if place.block is not None:
            counts[place.tower] = max(counts[place.tower], place.block + 1)
    if num_blocks is not None and len(counts) == 1:
        counts = {tower: max(count, num_blocks) for tower, count in counts.items()}
    return {path: _compute_depth(place, counts) for path, place in places.items()}


def find_largest_block(paths: Iterable[str]) -> int | None:
    """Give the largest block number of a model with one list of blocks; of others None."""
    places = [place for path in paths if (place := parse_place(path)).block is not None]
    if len({place.tower for place in places}) != 1:
        return None
    return max(place.block for place in places if place.block is not None)


def compute_depth_between(block: int, begin: int, end: int) -> float:
    """Say how deep a block is among those from ``begin`` to before ``end``; a single one is the last."""
    return (block - begin) / (end - 1 - begin) if end - begin > 1 else 1.0


def _compute_depth(place: Place, counts: dict[str, int]) -> float:
    if place.block is None:
        return 0.0 if place.is_before else 1.0
    return compute_depth_between(place.block, 0, counts[place.tower])
