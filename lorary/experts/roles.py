"""The roles of experts: what an expert is for, and whether it is used if no experts are named."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorary.errors import suggest
from lorary.files import quote, say_count

EXPERT = "expert"
MERGE, GENERAL, CONTROL, SKILL = "merge", "general", "control", "skill"
ROLES: Mapping[str, str] = {
    EXPERT: "trained on tasks; used if no experts are named",
    MERGE: "several experts merged into one",
    GENERAL: "what all tasks have in common, such as an expert trained on all of them",
    CONTROL: "a control to compare with, such as random weights",
    SKILL: "one of a set of skills, which a table mixes for each task",
}
"""Role -> what it means. Only experts of the first one are used if none are named."""
ALL = "all"
MOST_NAMED = 4


def check_roles(include: str | Iterable[str]) -> frozenset[str]:
    """Return the roles of experts to use.

    Args:
        include: a role or several, besides ``"expert"``; ``"all"`` for all roles.

    Raises:
        ValueError: with the first unknown role.
    """
    wanted = [include] if isinstance(include, str) else list(include)
    for role in wanted:
        if role not in ROLES and role != ALL:
            raise ValueError(f"there is no role {quote(role, 60)}: {suggest(str(role), [*ROLES, ALL])}")
    return frozenset(ROLES if ALL in wanted else [EXPERT, *wanted])


def describe_roles(names: Mapping[str, Sequence[str]]) -> str:
    """Describe experts by their roles, such as ``2 merges (a, b), 1 control (c)``.

    Args:
        names: role -> names of experts.
    """

    def describe(role: str, some: Sequence[str]) -> str:
        more = ["…"] if len(some) > MOST_NAMED else []
        return f"{say_count(len(some), role)} ({', '.join([*some[:MOST_NAMED], *more])})"

    return ", ".join(describe(role, some) for role, some in names.items())


def infer_role(values: Mapping[str, Any]) -> str:
    """Find the role in a card of an earlier version, which has none, by how the expert was made.

    Args:
        values: the fields of the card, possibly of wrong types.
    """
    provenance, parents = values.get("provenance"), values.get("parents")
    if not isinstance(provenance, Mapping):
        return EXPERT
    if provenance.get("algorithm") == "random_expert":
        return CONTROL
    if isinstance(provenance.get("skill"), Mapping):
        return SKILL
    if provenance.get("algorithm") != "merge" or "recipe" not in provenance:
        return EXPERT
    # The result of ``subtract_general``: still the expert of its own tasks.
    names = parents if isinstance(parents, list | tuple) else ()
    is_rest = len(names) == 2 and values.get("description") == f"{names[0]} without {names[1]}"
    return EXPERT if is_rest else MERGE
