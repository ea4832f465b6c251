"""The names of the general experts that experts of a library build on."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from lorary.experts.card import shorten_hash

if TYPE_CHECKING:
    from lorary.library import Library
    from lorary.library.entry import Entry


def name_generals(library: "Library", entries: Iterable["Entry"]) -> dict[str | None, str]:
    """Name the general experts that some experts build on, by the hashes of their weights.

    Args:
        library: the library.
        entries: some of its experts.

    Returns:
        Hash -> name, or a note that the expert of this hash is missing.
    """
    hashes = dict.fromkeys(entry.card.on_top_of for entry in entries)
    return {
        weights: library.find_general(weights) or f"{shorten_hash(weights)} (missing)"
        for weights in hashes
        if weights is not None
    }
