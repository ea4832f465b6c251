"""Open a library that must hold experts."""

import os
from collections import defaultdict

from jsonargparse import Namespace

from lorary.cli.left_out import tell_roles
from lorary.cli.role_options import read_include
from lorary.errors import LibraryError
from lorary.experts.roles import SKILL, check_roles
from lorary.files import quote
from lorary.library import Library
from lorary.library.view import LibraryView

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


def open_writable_library(url: str) -> Library | None:
    """Open a library in which a command will store results, before any work.

    Returns:
        The library; None if it does not exist yet, so that bad input leaves no new library behind.

    Raises:
        LibraryError: if something else is there, or it cannot be written.
    """
    is_remote = "://" in url
    if not is_remote and not os.path.exists(url):
        return None
    try:
        library = Library.open(url, create=not is_remote)
    except LibraryError:
        if is_remote:
            return None  # created later, or refused with the reason
        raise
    library.require_writable()
    return library


def open_routed_library(options: Namespace) -> LibraryView:
    """Open the experts of a library that a command uses if none are named; see ``choose_routed``."""
    return choose_routed(options, open_filled_library(options.library))


def choose_routed(options: Namespace, library: Library) -> LibraryView:
    """Choose the experts of a library that a command uses if none are named, and print which are left out.

    Args:
        options: the command's options.
        library: the library.

    Raises:
        LibraryError: if there are none.
        ValueError: if ``--include`` has an unknown role.
    """
    view = look_routed(options, library)
    if not view:
        by_task = (
            "name a task of the skills with --task, " if SKILL in view.left_out and "task" in options else ""
        )
        raise LibraryError(
            f"library {quote(library.url)} has no experts that are used by default, only "
            f"{view.describe_left_out()}: {by_task}train some with `lorary train`, or add --include "
            f"{','.join(view.left_out)}"
        )
    tell_roles(view)
    return view


def look_routed(options: Namespace, library: Library) -> LibraryView:
    """Choose as ``choose_routed``, but print nothing and accept that there are none.

    Raises:
        ValueError: if ``--include`` has an unknown role.
    """
    include = read_include(options)
    try:
        check_roles(include)
    except ValueError as error:
        raise ValueError(f"--include: {error}") from error
    return library.routed(include)


def group_by_base(library: LibraryView, base: str | None) -> dict[str, list[str]]:
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
