"""Some experts of a library, with the facts that it stores about them."""

from collections.abc import Mapping, Sequence

from lorary.experts import Expert
from lorary.library import Library
from lorary.library.general import take_general
from lorary.library.view import LibraryView
from lorary.training.starts import hash_start


def choose_experts(experts: Mapping[str, Expert], names: Sequence[str]) -> Mapping[str, Expert]:
    """Return some experts; those of a library with its artifacts, others with their general expert.

    Args:
        experts: a library, a choice of its experts, or any other mapping.
        names: names of the experts.
    """
    library = whole_library(experts)
    if isinstance(library, Library):
        return LibraryView(library, sorted(names), {})
    general = take_general(experts, names)
    chosen = {name: experts[name] for name in names}
    return chosen if general is None else {**chosen, general.name: general}


def whole_library(experts: Mapping[str, Expert]) -> Mapping[str, Expert]:
    """Return the library from which experts were chosen; for any other mapping the mapping itself."""
    return experts.library if isinstance(experts, LibraryView) else experts


def hash_experts(experts: Mapping[str, Expert], names: Sequence[str]) -> dict[str, str]:
    """Return hashes of the experts' changes and scales; those of a library without reading weights."""
    if isinstance(experts, Library | LibraryView):
        keys = experts.artifacts.make_keys("content", {name: {} for name in names})
        return {name: "".join(key.subjects) for name, key in keys.items()}
    return {name: hash_start(experts[name]) for name in names}
