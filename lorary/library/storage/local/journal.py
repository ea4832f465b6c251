"""The moves of a change that is being made, as they are written down: ``.lorary/journal.json``.

A journal is obeyed after a crash, so it may come from anywhere, such as from a library that was downloaded.
It names its owner, and nothing in it is taken for granted: only the very moves that a library makes are
understood, between experts' folders and its own staging folders.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

from lorary.errors import FormatError
from lorary.experts.folder import CARD_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.files import parse_json_object, quote
from lorary.library.names import is_name
from lorary.library.storage.owner import OWNER_DIGITS
from lorary.library.storage.places import MARKER, TMP, TRASH

# What the sidecar and the card say changes with the expert's name.
RENAMED_FILES = (SIDECAR_FILE, CARD_FILE)
MOST_BYTES = 4_000_000
STAGING_ID = re.compile(r"[0-9a-f]{32}")
# An id, or a file of a renamed expert that was put aside.
LEFTOVER = re.compile(r"[0-9a-f]{32}(\.[01])?")

Move = tuple[str, str]
"""What is moved, and where to: paths in the library."""


class Journal(NamedTuple):
    """One change that somebody began."""

    owner: str | None
    """Who, as ``identify_owner`` has it; None if an older lorary wrote it."""
    moves: list[Move]
    """All of its moves, in order."""


def plan_replacement(name: str, staged: str, aside: str) -> list[Move]:
    """List the moves that put a staged folder in an expert's place."""
    return [(name, aside), (staged, name)]


def plan_renaming(old: str, new: str, files: Sequence[str], staged: str, aside: str) -> list[Move]:
    """List the moves that give an expert another name, exchanging the files that hold its name.

    Args:
        old: the expert's name.
        new: its other name.
        files: names of the files that are exchanged.
        staged: the folder that holds them as they shall be.
        aside: a free path that is the expert's meanwhile.
    """
    moves = [(old, aside)]
    for number, file in enumerate(files):
        moves += [(f"{aside}/{file}", f"{aside}.{number}"), (f"{staged}/{file}", f"{aside}/{file}")]
    return [*moves, (aside, new)]


def dump_journal(journal: Journal) -> bytes:
    """Write a journal as JSON."""
    return json.dumps({"owner": journal.owner, "moves": journal.moves}).encode()


def parse_journal(content: bytes, path: str) -> Journal:
    """Understand a journal.

    Args:
        content: of the file.
        path: the file's, for messages.

    Raises:
        FormatError: if it is not one that a library writes.
    """
    found = parse_json_object(content, path)
    owner, moves = found.get("owner"), found.get("moves")
    if owner is not None and not (isinstance(owner, str) and len(owner) == OWNER_DIGITS):
        raise FormatError(f"{quote(path)} names no owner, but {quote(owner, 60)}")
    if not _are_moves(moves) or not _is_plan(moves):
        raise FormatError(f"{quote(path)} asks for moves that no library makes: {quote(moves)}")
    return Journal(owner, [(source, target) for source, target in moves])


def _are_moves(value: object) -> TypeGuard[list[list[str]]]:
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(move, list) and len(move) == 2 for move in value)
        and all(isinstance(path, str) for move in value for path in move)
    )


def _is_plan(moves: list[list[str]]) -> bool:
    """Tell whether these are moves that a change is made of, no place staged at twice."""
    rest = [(source, target) for source, target in moves]
    names, staged, aside = [], [], []
    while rest:
        step = _take_renaming(rest) or rest[:1]
        rest = rest[len(step) :]
        (source, target), (before, new) = step[0], step[-1]
        if len(step) > 1:
            names += [source, new]
            aside.append(before)
            staged += [step[2][0].rpartition("/")[0]] if len(step) > 2 else []
        elif is_staging(target, TRASH):
            names.append(source)
            aside.append(target)
        else:
            names.append(target)
            staged.append(source)
    return (
        all(is_name(name) and name != MARKER for name in names)
        and all(is_staging(path, TRASH) for path in aside)
        and all(is_staging(path, TMP) for path in staged)
        and len({*staged, *aside}) == len(staged) + len(aside)
    )


def _take_renaming(moves: Sequence[Move]) -> list[Move]:
    """Return the moves at the beginning that rename one expert; none if they do something else."""
    old, aside = moves[0]
    end = next((place for place, (source, _) in enumerate(moves) if source == aside), None)
    if end is None:
        return []
    step = list(moves[: end + 1])
    files = [source.rpartition("/")[2] for source, _ in step[1:-1:2]]
    staged = step[2][0].rpartition("/")[0] if files else ""
    is_sound = len(set(files)) == len(files) and set(files) <= set(RENAMED_FILES)
    return step if is_sound and step == plan_renaming(old, step[-1][1], files, staged, aside) else []


def is_staging(path: str, parent: str) -> bool:
    """Tell whether a path is one that a library stages a folder at, in ``TMP`` or ``TRASH``."""
    above, _, name = path.rpartition("/")
    return above == parent and STAGING_ID.fullmatch(name) is not None


def moves_file(path: str) -> bool:
    """Tell whether a path in a journal is a file's; all others are experts' folders."""
    return path.count("/") > 2 or (path.startswith(f"{TRASH}/") and not is_staging(path, TRASH))
