"""Trained sets of skills in a library."""

from collections.abc import Mapping

from lorary.adaptation.chosen import whole_library
from lorary.errors import LibraryError
from lorary.experts import Expert
from lorary.experts.skills import SkillSet
from lorary.library import Library
from lorary.library.skills import load_skills


def load_trained_skills(experts: Mapping[str, Expert], name: str) -> SkillSet:
    """Load the set of skills that has a skill of a name.

    Raises:
        LibraryError: if the experts are not those of a library, or the library has no such set, or its table
            is missing or does not match.
    """
    library = whole_library(experts)
    if not isinstance(library, Library):
        raise LibraryError(
            f"skills {name!r} must be in a library, because their table is stored there: pass a Library"
        )
    return load_skills(library, name)
