"""Listing and removing folders with their content, each folder opened relative to its parent."""

import errno
import os
import stat
from contextlib import suppress

from lorary.library.storage.local import calls

# Each level needs an open file descriptor.
MOST_LEVELS = 100


def walk_tree(folder: int, levels: int = MOST_LEVELS) -> dict[str, os.stat_result]:
    """List everything below an opened folder, except folders.

    Returns:
        Path relative to the folder -> status.

    Raises:
        OSError: if folders are nested too deeply (ENAMETOOLONG), or one cannot be read.
    """
    found: dict[str, os.stat_result] = {}
    for name in calls.list_names(folder):
        status = calls.look_at(name, folder)
        if not stat.S_ISDIR(status.st_mode):
            found[name] = status
            continue
        inner = _open_inner(name, folder, levels)
        try:
            found |= {f"{name}/{below}": status for below, status in walk_tree(inner, levels - 1).items()}
        finally:
            with suppress(OSError):
                calls.close(inner)
    return found


def remove_tree(name: str, parent: int, levels: int = MOST_LEVELS) -> None:
    """Remove a name in an opened folder, with everything below it; a link is removed, not its target.

    Raises:
        FileNotFoundError: if the name does not exist.
        OSError: if folders are nested too deeply (ENAMETOOLONG), or something cannot be removed.
    """
    if not stat.S_ISDIR(calls.look_at(name, parent).st_mode):
        calls.unlink(name, parent)
        return
    inner = _open_inner(name, parent, levels)
    try:
        for below in calls.list_names(inner):
            remove_tree(below, inner, levels - 1)
    finally:
        with suppress(OSError):
            calls.close(inner)
    calls.remove_folder(name, parent)


def _open_inner(name: str, parent: int, levels: int) -> int:
    if levels == 0:
        raise OSError(errno.ENAMETOOLONG, f"folders are nested more than {MOST_LEVELS} levels deep", name)
    return calls.open_folder(name, parent)
