"""The position of each module in the model: its block, and its depth from 0 to 1."""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
# Modules before the first block. All other modules outside blocks, such as the output layer, are after the
# last.
_BEFORE = re.compile(r"(?:^|[._])(?:embed(?!_out)\w*|wte|wpe|patch_\w+|word_embeddings?)(?:\.|$)")


class Place(NamedTuple):
    """The position of a module in the model."""

    tower: str
    """Path of the list of blocks that has the module, such as ``model.layers``; ``""`` outside blocks."""
    block: int | None
    """Number of its block; None outside blocks."""
    is_before: bool
    """Whether it is before the first block."""


def parse_place(path: str) -> Place:
    """Parse the position of a module from its path; the first number is its block."""
    found = _NUMBER.search(path)
    if found is None:
        return Place("", None, _BEFORE.search(path) is not None)
    return Place(path[: found.start()], int(found[1]), False)


def compute_depths(paths: Iterable[str], num_blocks: int | None = None) -> dict[str, float]:
    """Compute the depth of each module's block in the model.

    Args:
        paths: paths of the modules.
        num_blocks: number of blocks of the base model; None for the number that is known from the paths. It
            is ignored for models with several lists of blocks, such as an encoder and a decoder.

    Returns:
        Path -> depth: 0 for the first block and modules before it, 1 for the last block and modules after it.
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
    """Return the largest block number of a model with one list of blocks; None for other models."""
    places = [place for path in paths if (place := parse_place(path)).block is not None]
    if len({place.tower for place in places}) != 1:
        return None
    return max(place.block for place in places if place.block is not None)


def compute_depth_between(block: int, begin: int, end: int) -> float:
    """Compute the depth of a block in ``range(begin, end)``, 0 to 1; a single block has depth 1."""
    return (block - begin) / (end - 1 - begin) if end - begin > 1 else 1.0


def _compute_depth(place: Place, counts: dict[str, int]) -> float:
    if place.block is None:
        return 0.0 if place.is_before else 1.0
    return compute_depth_between(place.block, 0, counts[place.tower])
