"""The sets of skills in a library, as recorded in the experts' cards."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorary.library.entry import Entry
from lorary.library.key import Key

ALGORITHM = "task-table-1"
"""Of the artifact of a set: the table of its tasks."""
NOTE = "skill"
"""The key of a skill card's provenance that has its set and its place there."""


def group_skills(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the skills of each set, in the order of the entries."""
    sets: dict[str, list[Entry]] = {}
    for entry in entries:
        note = entry.card.provenance.get(NOTE)
        if isinstance(note, Mapping) and isinstance(note.get("set"), str):
            sets.setdefault(note["set"], []).append(entry)
    return sets


def order_skills(entries: Sequence[Entry]) -> dict[int, Entry]:
    """Return the skills of a set by their places, in order; of copies, the first."""
    places: dict[int, Entry] = {}
    for entry in entries:
        place, size = entry.card.provenance[NOTE].get("place"), read_size(entries)
        if type(place) is int and type(size) is int and 0 <= place < size:
            places.setdefault(place, entry)
    return dict(sorted(places.items()))


def read_size(entries: Sequence[Entry]) -> Any:
    """Return the number of skills of a set, according to its first card."""
    return entries[0].card.provenance[NOTE].get("of")


def list_tables(entries: Iterable[Entry], hashes: Mapping[str, str]) -> dict[Key, list[str]]:
    """List the tables that a library needs: key -> the skills of a complete set.

    Args:
        entries: the library's experts, sorted by name.
        hashes: name -> hash of an expert's content.
    """
    found = {}
    for name, own in group_skills(entries).items():
        skills = [entry.name for entry in order_skills(own).values()]
        if len(skills) == read_size(own):
            found[Key(ALGORITHM, {"set": name}, tuple(hashes[skill] for skill in skills))] = skills
    return found
