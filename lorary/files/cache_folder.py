"""The folder where this machine's user keeps what can be made again."""

import os
import stat
from pathlib import Path

from lorary.files.quoting import quote


def find_cache_folder() -> Path:
    """Name the cache folder, ``$LORARY_CACHE`` or ``~/.cache/lorary``; nothing is made."""
    return Path(os.environ.get("LORARY_CACHE") or Path.home() / ".cache" / "lorary")


def make_private_folder(path: Path, *, follow: bool = False) -> Path:
    """Make a folder that its owner alone may enter, or make sure that one is such a folder.

    Args:
        path: the folder; folders above it are made where missing.
        follow: whether it may be a link that this user made, as on clusters where homes are small.

    Returns:
        The folder itself, wherever links lead.

    Raises:
        PermissionError: if it or a link to it is another user's, it is a link that is not to be followed, or
            its mode cannot be changed.
        OSError: if it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = path.lstat().st_uid
    folder = path.resolve() if follow else path
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or {owner, status.st_uid} != {os.geteuid()}:
        raise PermissionError(
            f"cache folder {quote(str(path))} must be this user's own: set LORARY_CACHE to a folder of yours"
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        folder.chmod(0o700)
    return folder
