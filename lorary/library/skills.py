"""Skills in a library: ordinary experts, and their table as one artifact of all of them together.

The card of a skill names its set and its place there, so that renamed skills are still found.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_fields
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts import Expert, write_expert_files
from lorary.experts.roles import SKILL
from lorary.experts.skills import SkillSet, TaskTable
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import escape, parse_json_object, quote
from lorary.library.entry import Entry
from lorary.library.key import Key
from lorary.library.library import Library
from lorary.library.skill_sets import ALGORITHM, NOTE, group_skills, order_skills, read_size

SETTINGS = "settings"
LOGITS = "logits of "
EMBEDDINGS = "embeddings"


def store_skills(library: Library, skill_set: SkillSet, *, replace: bool = False) -> None:
    """Store skills as experts, all in one commit, and their table as an artifact.

    A set that the library has already, with the same weights and the same table, is not stored again.

    Args:
        library: the library.
        skill_set: the skills and their table.
        replace: whether to replace experts of the skills' names.

    Raises:
        LibraryError: if a skill's name is taken, or the library cannot be written; its experts are then
            unchanged in nearly all cases, as the message states.
    """
    tensors = _pack_table(skill_set.table)
    identity, skills = _identify(tensors), {skill.name: skill for skill in skill_set.skills}
    hashes = tuple(sha256(write_expert_files(skill)[WEIGHTS_FILE]).hexdigest() for skill in skills.values())
    notes = [{"set": identity, "place": place, "of": len(hashes)} for place in range(len(hashes))]
    stored = {entry.name: entry for entry in library.entries() if entry.name in skills}
    key = Key(ALGORITHM, {"set": identity}, hashes)
    found = [(entry.card.provenance.get(NOTE), entry.weights_sha256) for entry in stored.values()]
    expected = dict(zip(skills, zip(notes, hashes, strict=True), strict=True))
    if found == [expected[name] for name in stored] and len(found) == len(skills):
        if library.artifacts.load(key) is not None:
            return
    elif stored and not replace:
        raise LibraryError(
            f"the library must not have experts of the skills' names, found {quote(sorted(stored))}: choose "
            "other names, or delete them first"
        )
    # The table is stored first: without its skills it is unused, but skills without it could not be loaded.
    library.artifacts.save(key, tensors)
    noted = {name: _add_note(skill, note) for (name, skill), note in zip(skills.items(), notes, strict=True)}
    library.add_all(noted, replace=replace or bool(stored))


def _add_note(skill: Expert, note: Mapping[str, Any]) -> Expert:
    provenance = {**skill.card.provenance, NOTE: note}
    return replace_fields(skill, card=replace_fields(skill.card, role=SKILL, provenance=provenance))


def load_only_skills(library: Library) -> SkillSet | None:
    """Load the skills of a library that has one complete set; None if it has none, or several.

    Raises:
        LibraryError: if the table is missing or damaged.
    """
    whole = [
        own for own in group_skills(library.entries()).values() if len(order_skills(own)) == read_size(own)
    ]
    return load_skills(library, whole[0][0].name) if len(whole) == 1 else None


def load_skills(library: Library, name: str | None = None) -> SkillSet:
    """Load skills and their table from a library.

    Args:
        library: the library.
        name: any skill of the set; None if the library has only one set.

    Raises:
        LibraryError: if there are no skills, skills of several sets and no name, a skill is missing, or the
            table is missing or damaged.
    """
    sets = group_skills(library.entries())
    chosen = _choose_set(sets, name)
    names = [entry.name for entry in chosen]
    parameters = {"set": chosen[0].card.provenance[NOTE]["set"]}
    tensors = library.artifacts.load(library.artifacts.make_key(ALGORITHM, parameters, names))
    if tensors is None:
        raise LibraryError(
            f"the table of skills {quote(names)} must be in the library, found none, or a damaged one: store "
            "the skills again, or load a model without them (skills=None)"
        )
    return SkillSet([library[skill] for skill in names], _unpack_table(tensors))


def list_incomplete_skills(library: Library) -> list[str]:
    """List the skills whose sets lack others, so that nothing can use their table."""
    sets = group_skills(library.entries()).values()
    return [entry.name for own in sets if len(order_skills(own)) != read_size(own) for entry in own]


def _pack_table(table: TaskTable) -> dict[str, Tensor]:
    settings = {
        "tasks": list(table.tasks),
        "num_skills": table.num_skills,
        "num_splits": table.num_splits,
        "granularity": table.granularity,
        "has_shared": table.has_shared,
    }
    content = torch.tensor(list(json.dumps(settings).encode()), dtype=torch.uint8)
    logits = {f"{LOGITS}{group}": own for group, own in table.logits.items()}
    embeddings = {} if table.embeddings is None else {EMBEDDINGS: table.embeddings}
    return {SETTINGS: content, **logits, **embeddings}


def _unpack_table(tensors: Mapping[str, Tensor]) -> TaskTable:
    try:
        settings: Mapping[str, Any] = parse_json_object(
            bytes(tensors[SETTINGS].tolist()), "the settings of a table"
        )
        logits = {name.removeprefix(LOGITS): own for name, own in tensors.items() if name.startswith(LOGITS)}
        tasks = tuple(settings["tasks"])
        return TaskTable(**{**settings, "tasks": tasks}, logits=logits, embeddings=tensors.get(EMBEDDINGS))
    except (KeyError, TypeError, ValueError) as error:
        raise LibraryError(
            "the table of skills must be what was stored, found a damaged one "
            f"({escape(str(error), longest=200)}): store the skills again"
        ) from error


def _identify(tensors: Mapping[str, Tensor]) -> str:
    digest = sha256()
    for name in sorted(tensors):
        digest.update(
            name.encode() + tensors[name].contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()[:16]


def _choose_set(sets: Mapping[str, Sequence[Entry]], name: str | None) -> list[Entry]:
    """Return the skills of one set in their order; of copies, the first by name.

    Without a name, sets that lack skills do not count if another is complete.
    """
    whole = [own for own in sets.values() if len(order_skills(own)) == read_size(own)]
    found = whole or list(sets.values())
    if name is not None:
        found = [own for own in sets.values() if any(entry.name == name for entry in own)]
    if len(found) != 1:
        first = [own[0].name for own in (found if name is None and found else sets.values())]
        raise LibraryError(
            f"the library must have {'one set of skills' if name is None else f'a skill {name!r}'}, found "
            f"{len(found)}: name one of {quote(first)}"
        )
    places, size = order_skills(found[0]), quote(read_size(found[0]), 60)
    if found[0] not in whole:
        raise LibraryError(
            f"the set of skill {found[0][0].name!r} must have {size} skills, found places "
            f"{quote(list(places), 200)}: store the skills again"
        )
    return list(places.values())
