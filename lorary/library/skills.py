"""Skills in a library: ordinary experts, and their table as one artifact of all of them together.

The card of a skill names its set and its place there, so that renamed skills are still found.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts.roles import SKILL
from lorary.experts.skills import SkillSet, TaskTable
from lorary.files import escape, parse_json_object, quote
from lorary.library.entry import Entry
from lorary.library.key import Key
from lorary.library.library import Library

ALGORITHM = "task-table-1"
NOTE = "skill"
"""Where a skill's card says in its provenance which set it is of, and its place there."""
SETTINGS = "settings"
LOGITS = "logits of "


def store_skills(library: Library, skill_set: SkillSet) -> None:
    """Store skills as experts, and their table as an artifact.

    Args:
        library: the library.
        skill_set: the skills and their table.

    Raises:
        LibraryError: if a skill's name is taken, or the library cannot be written. Skills that were stored
            before a failure stay there.
    """
    taken = [skill.name for skill in skill_set.skills if skill.name in library]
    if taken:
        raise LibraryError(f"the library must not have experts of the skills' names, found {quote(taken)}")
    tensors = _pack_table(skill_set.table)
    names = [skill.name for skill in skill_set.skills]
    identity = _identify(tensors)
    for place, skill in enumerate(skill_set.skills):
        note = {"set": identity, "place": place, "of": len(names)}
        card = replace(skill.card, role=SKILL, provenance={**skill.card.provenance, NOTE: note})
        library.add(replace(skill, card=card))
    library.artifacts.save(_make_key(library, names), tensors)


def load_skills(library: Library, name: str | None = None) -> SkillSet:
    """Load skills and their table from a library.

    Args:
        library: the library.
        name: any skill of the set; None if the library has only one set.

    Raises:
        LibraryError: if there are no skills, skills of several sets and no name, a skill is missing, or the
            table is missing or damaged.
    """
    sets = _group_skills(library)
    chosen = _choose_set(sets, name)
    names = [entry.name for entry in chosen]
    tensors = library.artifacts.load(_make_key(library, names))
    if tensors is None:
        raise LibraryError(
            f"the table of skills {quote(names)} must be in the library, found none, or a damaged one: store "
            "the skills again"
        )
    return SkillSet([library[skill] for skill in names], _unpack_table(tensors))


def _make_key(library: Library, names: Sequence[str]) -> Key:
    return library.artifacts.make_key(ALGORITHM, {}, names)


def _pack_table(table: TaskTable) -> dict[str, Tensor]:
    settings = {
        "tasks": list(table.tasks),
        "num_skills": table.num_skills,
        "num_splits": table.num_splits,
        "granularity": table.granularity,
        "has_shared": table.has_shared,
    }
    content = torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)
    return {SETTINGS: content, **{f"{LOGITS}{group}": logits for group, logits in table.logits.items()}}


def _unpack_table(tensors: Mapping[str, Tensor]) -> TaskTable:
    try:
        settings: Mapping[str, Any] = parse_json_object(
            bytes(tensors[SETTINGS].tolist()), "the settings of a table"
        )
        logits = {name.removeprefix(LOGITS): own for name, own in tensors.items() if name.startswith(LOGITS)}
        return TaskTable(**{**settings, "tasks": tuple(settings["tasks"])}, logits=logits)
    except (KeyError, TypeError, ValueError) as error:
        raise LibraryError(
            "the table of skills must be what was stored, found a damaged one "
            f"({escape(str(error), longest=200)}): store the skills again"
        ) from error


def _identify(tensors: Mapping[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _group_skills(library: Library) -> dict[str, list[Entry]]:
    """Return the skills of each set, sorted by name."""
    sets: dict[str, list[Entry]] = {}
    for entry in library.entries():
        note = entry.card.provenance.get(NOTE)
        if isinstance(note, Mapping) and isinstance(note.get("set"), str):
            sets.setdefault(note["set"], []).append(entry)
    return sets


def _choose_set(sets: Mapping[str, Sequence[Entry]], name: str | None) -> list[Entry]:
    """Return the skills of one set in their order; of copies, the first by name."""
    found = [own for own in sets.values() if name is None or any(entry.name == name for entry in own)]
    if len(found) != 1:
        first = [own[0].name for own in sets.values()]
        raise LibraryError(
            f"the library must have {'one set of skills' if name is None else f'a skill {name!r}'}, found "
            f"{len(found)}: name one of {quote(first)}"
        )
    places: dict[int, Entry] = {}
    for entry in found[0]:
        place = entry.card.provenance[NOTE].get("place")
        if type(place) is int:
            places.setdefault(place, entry)
    expected = found[0][0].card.provenance[NOTE].get("of")
    if sorted(places) != list(range(len(places))) or len(places) != expected:
        raise LibraryError(
            f"the set of skill {found[0][0].name!r} must have {quote(expected, 60)} skills, found places "
            f"{quote(sorted(places), 200)}: store the skills again"
        )
    return [places[place] for place in sorted(places)]
