"""The folder where this machine's user keeps what can be made again."""

import os
import stat
from pathlib import Path


def find_cache_folder() -> Path:
    """Name the cache folder, ``$LORARY_CACHE`` or ``~/.cache/lorary``; nothing is made."""
    return Path(os.environ.get("LORARY_CACHE") or Path.home() / ".cache" / "lorary")


def make_private_folder(path: Path) -> Path:
    """Make a folder that its owner alone may enter, or make sure that one is such a folder.

    Args:
        path: the folder; folders above it are made where missing.

    Raises:
        PermissionError: if it is a link or another user's, or its mode cannot be changed.
        OSError: if it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{str(path)!r} must be a folder of this user's own, and no link")
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path
