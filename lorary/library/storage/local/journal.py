"""The journal, ``.lorary/journal.json``: the moves of a change in progress.

A journal is executed after a crash, and may come from elsewhere, for example with a downloaded library. So it
names its owner, and only moves that a library's own changes consist of are accepted: between experts' folders
and staging folders.
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

# The files of an expert that contain its name.
RENAMED_FILES = (SIDECAR_FILE, CARD_FILE)
MOST_BYTES = 4_000_000
STAGING_ID = re.compile(r"[0-9a-f]{32}")
# An id, or a file of a renamed expert that was moved aside (.0 or .1).
LEFTOVER = re.compile(r"[0-9a-f]{32}(\.[01])?")

Move = tuple[str, str]
"""Source and target of a move: paths in the library."""


class Journal(NamedTuple):
    """A change in progress."""

    owner: str | None
    """Id of the writer, from ``identify_owner``; None in journals of earlier versions."""
    moves: list[Move]
    """All moves of the change, in order."""


def plan_replacement(name: str, staged: str, aside: str) -> list[Move]:
    """Return the moves that replace an expert's folder by a staged one."""
    return [(name, aside), (staged, name)]


def plan_renaming(old: str, new: str, files: Sequence[str], staged: str, aside: str) -> list[Move]:
    """Return the moves that rename an expert and replace the files that contain its name.

    Args:
        old: the expert's name.
        new: the new name.
        files: names of the replaced files.
        staged: the folder that has the new files.
        aside: a free path, where the expert's folder is in the meantime.
    """
    moves = [(old, aside)]
    for number, file in enumerate(files):
        moves += [(f"{aside}/{file}", f"{aside}.{number}"), (f"{staged}/{file}", f"{aside}/{file}")]
    return [*moves, (aside, new)]


def dump_journal(journal: Journal) -> bytes:
    """Encode a journal as JSON."""
    return json.dumps({"owner": journal.owner, "moves": journal.moves}).encode()


def parse_journal(content: bytes, path: str) -> Journal:
    """Parse a journal.

    Args:
        content: bytes of the file.
        path: the file's path, for messages.

    Raises:
        FormatError: if it is not one that a library writes.
    """
    found = parse_json_object(content, path)
    owner, moves = found.get("owner"), found.get("moves")
    if owner is not None and not (isinstance(owner, str) and len(owner) == OWNER_DIGITS):
        raise FormatError(
            f"owner in {quote(path)} must be text of {OWNER_DIGITS} characters, found {quote(owner, 60)}"
        )
    if not _are_moves(moves) or not _is_plan(moves):
        raise FormatError(f"{quote(path)} must have only moves that a library makes, found {quote(moves)}")
    return Journal(owner, [(source, target) for source, target in moves])


def _are_moves(value: object) -> TypeGuard[list[list[str]]]:
    return (
        isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(move, list) and len(move) == 2 for move in value)
        and all(isinstance(path, str) for move in value for path in move)
    )


def _is_plan(moves: list[list[str]]) -> bool:
    """Return whether the moves are a sequence of replacements, removals, additions and renamings of experts.

    Every staging path must occur once.
    """
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
    """Return the moves at the beginning that rename one expert; an empty list if they do not rename."""
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
    """Return whether a path is that of a staging folder in ``parent``, which is ``TMP`` or ``TRASH``."""
    above, _, name = path.rpartition("/")
    return above == parent and STAGING_ID.fullmatch(name) is not None


def moves_file(path: str) -> bool:
    """Return whether a path in a journal is that of a file; all others are folders of experts."""
    return path.count("/") > 2 or (path.startswith(f"{TRASH}/") and not is_staging(path, TRASH))
