"""Choosing the skills whose tasks a model has."""

from collections.abc import Mapping
from types import EllipsisType

from lorary.experts import Expert
from lorary.experts.roles import SKILL
from lorary.experts.skills import SkillSet
from lorary.files import quote
from lorary.library.skills import load_only_skills, load_skills
from lorary.library.view import LibraryView


def choose_skills(
    experts: Mapping[str, Expert], skills: SkillSet | str | EllipsisType | None
) -> SkillSet | None:
    """Choose the skills whose tasks a model has, see ``load_model``.

    Args:
        experts: a view of the library, or another mapping.
        skills: a set, the name of any skill of a set in the library, None for none, or ``...`` for
            the library's set if it has only one.

    Raises:
        ValueError: if a name is given without a library.
        LibraryError: if the library's skills cannot be loaded.
    """
    if skills is None or isinstance(skills, SkillSet):
        return skills
    if isinstance(skills, str) and isinstance(experts, LibraryView):
        return load_skills(experts.library, skills)
    if skills is ...:
        # Skills that are among the experts are not left out.
        if isinstance(experts, LibraryView) and SKILL in experts.left_out:
            return load_only_skills(experts.library)
        return None
    raise ValueError(
        f"skills by name, found {quote(skills)}, need a library: pass one as experts, or a SkillSet as skills"
    )
