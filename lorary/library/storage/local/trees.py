"""Whole folders on a local disk, walked and removed from one opened folder to the next."""

import errno
import os
import stat
from contextlib import suppress

from lorary.library.storage.local import calls

# Each level keeps a folder open.
MOST_LEVELS = 100


def walk_tree(folder: int, levels: int = MOST_LEVELS) -> dict[str, os.stat_result]:
    """List what lies below an opened folder, but no folders.

    Returns:
        Path, relative to the folder -> what the system says of it.

    Raises:
        OSError: if folders nest too deeply (ENAMETOOLONG), or one cannot be read.
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
    """Remove what has a name in an opened folder; of a link, the link.

    Raises:
        FileNotFoundError: if there is nothing of this name.
        OSError: if folders nest too deeply (ENAMETOOLONG), or something cannot be removed.
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
        raise OSError(errno.ENAMETOOLONG, f"more than {MOST_LEVELS} folders lie in each other", name)
    return calls.open_folder(name, parent)
