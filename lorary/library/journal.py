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
from lorary.library.owner import OWNER_DIGITS

PRIVATE = ".lorary"
JOURNAL = f"{PRIVATE}/journal.json"
TMP = f"{PRIVATE}/tmp"
TRASH = f"{PRIVATE}/trash"
MARKER = "library.json"

# What the sidecar and the card say changes with the expert's name.
RENAMED_FILES = (SIDECAR_FILE, CARD_FILE)
MOST_BYTES = 64_000
STAGING_ID = re.compile(r"[0-9a-f]{32}")
# An id, or a file of a renamed expert that was put aside.
LEFTOVER = re.compile(r"[0-9a-f]{32}(\.[01])?")

Move = tuple[str, str]
"""What is moved, and where to: paths in the library."""


class Journal(NamedTuple):
    """One change that somebody began."""

    owner: str | None
    """Who, as ``find_owner`` has it; None if an older lorary wrote it."""
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
        and 2 <= len(value) <= 2 + 2 * len(RENAMED_FILES)
        and all(isinstance(move, list) and len(move) == 2 for move in value)
        and all(isinstance(path, str) for move in value for path in move)
    )


def _is_plan(moves: list[list[str]]) -> bool:
    """Tell whether these are moves that are planned above: they say themselves of what."""
    (name, aside), (last, new) = moves[0], moves[-1]
    if last == aside:
        files = [source.rpartition("/")[2] for source, _ in moves[1:-1:2]]
        staged = moves[2][0].rpartition("/")[0] if files else _name_any(TMP)
        plan = plan_renaming(name, new, files, staged, aside)
    else:
        files, staged = [], last
        plan = plan_replacement(name, staged, aside)
    return (
        moves == [list(move) for move in plan]
        and all(is_name(own) and own != MARKER for own in (name, new))
        and is_staging(staged, TMP)
        and is_staging(aside, TRASH)
        and len(set(files)) == len(files)
        and set(files) <= set(RENAMED_FILES)
    )


def is_staging(path: str, parent: str) -> bool:
    """Tell whether a path is one that a library stages a folder at, in ``TMP`` or ``TRASH``."""
    above, _, name = path.rpartition("/")
    return above == parent and STAGING_ID.fullmatch(name) is not None


def _name_any(parent: str) -> str:
    return f"{parent}/{'0' * 32}"


def moves_file(path: str) -> bool:
    """Tell whether a path in a journal is a file's; all others are experts' folders."""
    return path.count("/") > 2 or (path.startswith(f"{TRASH}/") and not is_staging(path, TRASH))
