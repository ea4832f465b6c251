"""Open a library that must hold experts."""

import os
from collections import defaultdict

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library import Library

# Names in a built model's folder, repeated from ``assembly`` (a test holds them equal): importing that room
# takes seconds, and commands that load no model need the names for a hint only.
MODEL_FILE = "lorary_model.json"
EXPERTS = "experts"


def open_filled_library(url: str) -> Library:
    """Open a library that must hold at least one expert.

    Raises:
        LibraryError: if the library is missing or empty.
    """
    try:
        library = Library.open(url)
    except LibraryError as error:
        if os.path.isfile(f"{url}/{MODEL_FILE}"):
            place = f"{url.rstrip('/')}/{EXPERTS}"
            raise LibraryError(
                f"{quote(url)} is a built model, not a library: use its library {quote(place)}"
            ) from error
        raise
    if not len(library):
        raise LibraryError(
            f"library {quote(url)} is empty: train experts with `lorary train`, or add one with "
            "`lorary library add`"
        )
    return library


def group_by_base(library: Library, base: str | None) -> dict[str, list[str]]:
    """List the experts of each base model. Only experts of the same base model have comparable layers.

    Args:
        library: the experts.
        base: only this base model; None means all.

    Raises:
        LibraryError: if no expert is for ``base``.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for entry in library.entries(base=base):
        groups[entry.base_model].append(entry.name)
    if not groups:
        known = sorted({entry.base_model for entry in library.entries()})
        raise LibraryError(
            f"library {quote(library.url)} has no expert for base model {quote(base)}, only for "
            + ", ".join(repr(name) for name in known)
        )
    return groups
