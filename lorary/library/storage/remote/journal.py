"""A commit that is being copied into place, as it is written down: ``.lorary/journal.json``.

Its sources lie still until the journal is gone, so whoever obeys it after a crash may begin anew. It names
its owner, and only copies within the library are understood: into experts' folders, from them or from staged
files.
"""

import json
import re
from typing import Any, NamedTuple

from lorary.errors import FormatError
from lorary.files import parse_json_object, quote
from lorary.library.names import is_name
from lorary.library.storage.owner import OWNER_DIGITS
from lorary.library.storage.places import TMP

MOST_BYTES = 4_000_000
STAGED = re.compile(rf"{re.escape(TMP)}/[0-9a-f]{{32}}")


class RemoteJournal(NamedTuple):
    """One commit that somebody began."""

    owner: str
    """Who, as ``identify_owner`` has it."""
    copies: dict[str, str]
    """File -> the file that it becomes a copy of."""
    deletes: list[str]
    """Files that are removed once all copies are made."""


def dump_journal(journal: RemoteJournal) -> bytes:
    """Write a journal as JSON."""
    return json.dumps(journal._asdict()).encode()


def parse_journal(content: bytes, path: str) -> RemoteJournal:
    """Understand a journal.

    Args:
        content: of the file.
        path: the file's, for messages.

    Raises:
        FormatError: if it is not one that a library writes.
    """
    found = parse_json_object(content, path)
    owner = found.get("owner")
    copies: Any = found.get("copies")
    deletes: Any = found.get("deletes")
    if not (isinstance(owner, str) and len(owner) == OWNER_DIGITS):
        raise FormatError(f"{quote(path)} names no owner, but {quote(owner, 60)}")
    if not _are_copies(copies, deletes):
        raise FormatError(f"{quote(path)} asks for copies that no library makes: {quote(found)}")
    return RemoteJournal(owner, copies, deletes)


def _are_copies(copies: Any, deletes: Any) -> bool:
    return (
        isinstance(copies, dict)
        and isinstance(deletes, list)
        and all(map(_is_in_expert, (*copies, *deletes)))
        and all(_is_in_expert(file) or _is_staged(file) for file in copies.values())
        # Else nobody could begin anew: a source is overwritten by the commit itself.
        and not set(copies) & {*copies.values(), *deletes}
    )


def _is_in_expert(path: Any) -> bool:
    if not isinstance(path, str):
        return False
    name, *inner = path.split("/")
    return is_name(name) and bool(inner) and not {"", ".", ".."} & set(inner)


def _is_staged(path: Any) -> bool:
    return isinstance(path, str) and STAGED.fullmatch(path) is not None
