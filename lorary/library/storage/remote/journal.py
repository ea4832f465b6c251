"""The journal, ``.lorary/journal.json``: a commit whose files are being copied into place.

Its sources do not change while the journal exists, so after a crash it can be executed again from the
beginning. It names its owner. Only copies within the library are accepted: into experts' folders, from
experts' folders or staged files.
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
    """A commit in progress."""

    owner: str
    """Id of the writer, from ``identify_owner``."""
    copies: dict[str, str]
    """Target -> source of each copy."""
    deletes: list[str]
    """Files to be removed after all copies are made."""


def dump_journal(journal: RemoteJournal) -> bytes:
    """Encode a journal as JSON."""
    return json.dumps(journal._asdict()).encode()


def parse_journal(content: bytes, path: str) -> RemoteJournal:
    """Parse a journal.

    Args:
        content: bytes of the file.
        path: the file's path, for messages.

    Raises:
        FormatError: if it is not one that a library writes.
    """
    found = parse_json_object(content, path)
    owner = found.get("owner")
    copies: Any = found.get("copies")
    deletes: Any = found.get("deletes")
    if not (isinstance(owner, str) and len(owner) == OWNER_DIGITS):
        raise FormatError(
            f"owner in {quote(path)} must be text of {OWNER_DIGITS} characters, found {quote(owner, 60)}"
        )
    if not _are_copies(copies, deletes):
        raise FormatError(f"{quote(path)} must have only copies that a library makes, found {quote(found)}")
    return RemoteJournal(owner, copies, deletes)


def _are_copies(copies: Any, deletes: Any) -> bool:
    return (
        isinstance(copies, dict)
        and isinstance(deletes, list)
        and all(map(_is_in_expert, (*copies, *deletes)))
        and all(_is_in_expert(file) or _is_staged(file) for file in copies.values())
        # No source may be overwritten or removed by the commit itself, so that it can be executed again.
        and not set(copies) & {*copies.values(), *deletes}
    )


def _is_in_expert(path: Any) -> bool:
    if not isinstance(path, str):
        return False
    name, *inner = path.split("/")
    return is_name(name) and bool(inner) and not {"", ".", ".."} & set(inner)


def _is_staged(path: Any) -> bool:
    return isinstance(path, str) and STAGED.fullmatch(path) is not None
