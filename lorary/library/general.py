"""Finding the general expert that others of a library build on, by the hash of its weights."""

from collections.abc import Mapping, Sequence

from lorary.errors import IncompatibleExpert
from lorary.experts import Expert
from lorary.experts.on_top import agree_on_general, find_by_weights, say_general_missing
from lorary.experts.roles import GENERAL
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
    if isinstance(library, Library):
        return library.find_general(on_top_of)
    return find_by_weights(library, on_top_of)


def take_general(experts: Mapping[str, Expert], names: Sequence[str]) -> Expert | None:
    """Return the general expert that all of some experts build on; None if they build on none.

    Args:
        experts: a library, some of its experts, or any other mapping.
        names: names of experts.

    Raises:
        IncompatibleExpert: if they build on different ones, or it is missing.
    """
    weights = agree_on_general({name: experts[name] for name in names})
    if weights is None:
        return None
    found = find_general(experts, weights)
    if found is None:
        raise IncompatibleExpert(say_general_missing(experts[names[0]], names, "their library"))
    return whole_library(experts)[found].rename(found)


def list_generals(experts: Mapping[str, Expert]) -> list[str]:
    """List the experts with the role ``"general"`` of a library, or of the library that a view is of."""
    library = whole_library(experts)
    if isinstance(library, Library):
        return [entry.name for entry in library.entries(role=GENERAL)]
    return [name for name, expert in library.items() if expert.card.role == GENERAL]


def whole_library(experts: Mapping[str, Expert]) -> Mapping[str, Expert]:
    """Return the library that a view is of; any other mapping unchanged."""
    return experts.library if isinstance(experts, LibraryView) else experts
