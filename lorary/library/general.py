"""Finding the general expert that others of a library stand on, by the hash of its weights."""

from collections.abc import Mapping, Sequence

from lorary.experts import Expert
from lorary.experts.on_top import find_by_weights, hash_weights
from lorary.experts.roles import GENERAL
from lorary.library.entry import Entry
from lorary.library.library import Library
from lorary.library.view import LibraryView


def find_general(experts: Mapping[str, Expert], on_top_of: str) -> str | None:
    """Find the general expert that a card's ``on_top_of`` names.

    Args:
        experts: a library, some of its experts, or any other mapping. In a library all experts are searched,
            by the hashes in their cards.
        on_top_of: the hash of its weights.

    Returns:
        Its name; None if it is not there.
    """
    library = whole_library(experts)
    if not isinstance(library, Library):
        return find_by_weights(library, on_top_of)
    entries = [entry for entry in library.entries() if entry.card.on_top_of is None]
    stored = find_stored_general(entries, on_top_of)
    if stored is not None:
        return stored
    # Adapters that were copied in by hand have no stored hash.
    others = (entry.name for entry in entries if entry.weights_sha256 is None)
    return next((name for name in others if hash_weights(library[name]) == on_top_of), None)


def find_stored_general(entries: Sequence[Entry], on_top_of: str) -> str | None:
    """Find the expert with a stored hash of its weights; of copies the one with the role ``"general"``."""
    same = [entry for entry in entries if entry.weights_sha256 == on_top_of]
    same.sort(key=lambda entry: entry.card.role != GENERAL)
    return same[0].name if same else None


def list_generals(experts: Mapping[str, Expert]) -> list[str]:
    """List the experts with the role ``"general"`` of a library, or of the library that a view is of."""
    library = whole_library(experts)
    if isinstance(library, Library):
        return [entry.name for entry in library.entries(role=GENERAL)]
    return [name for name, expert in library.items() if expert.card.role == GENERAL]


def whole_library(experts: Mapping[str, Expert]) -> Mapping[str, Expert]:
    """Return the library that a view is of; any other mapping as it is."""
    return experts.library if isinstance(experts, LibraryView) else experts
