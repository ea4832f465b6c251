"""Options of routers that were tuned for a library: a further key of ``library.json``."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from lorary.errors import LibraryError
from lorary.files import parse_json_object, quote
from lorary.library.commits import commit_plan
from lorary.library.marker import MOST_BYTES
from lorary.library.storage.contract import Puts, Storage
from lorary.library.storage.places import MARKER

KEY = "tuned"


def read_tuned(storage: Storage, router: str) -> dict[str, Any]:
    """Return the options that were tuned for a router; empty if there are none.

    Raises:
        LibraryError: if they are not a mapping.
        OSError: if the library cannot be read.
    """
    return read_all_tuned(storage).get(router, {})


def read_all_tuned(storage: Storage) -> dict[str, dict[str, Any]]:
    """Return the options that were tuned for each router, by its name.

    Raises:
        LibraryError: if they are not mappings.
        OSError: if the library cannot be read.
    """
    found = _read_marker(storage).get(KEY, {})
    if not isinstance(found, Mapping) or not all(isinstance(own, Mapping) for own in found.values()):
        raise LibraryError(
            f"{MARKER} of library {quote(storage.url)} must have a router's tuned options by name, "
            f"found {quote(found)}: remove the key {KEY!r}"
        )
    return {router: dict(own) for router, own in found.items()}


def store_tuned(storage: Storage, router: str, options: Mapping[str, Any] | None) -> None:
    """Store options that were tuned for a router, in place of earlier ones; None removes them.

    Raises:
        LibraryError: if the library cannot be written.
    """

    def plan() -> tuple[Puts, Collection[str]]:
        marker = _read_marker(storage)
        found = marker.pop(KEY, {})
        kept = {name: own for name, own in found.items() if name != router} if isinstance(found, dict) else {}
        kept |= {} if options is None else {router: dict(options)}
        return {MARKER: json.dumps({**marker, **({KEY: kept} if kept else {})}).encode()}, ()

    commit_plan(storage, f"store the tuned options of router {quote(router)}", plan)


def _read_marker(storage: Storage) -> dict[str, Any]:
    return parse_json_object(storage.read(MARKER, end=MOST_BYTES), storage.path(MARKER))
