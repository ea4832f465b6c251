"""The user's folder of files that can be made again."""

import os
import stat
from pathlib import Path

from lorary.files.quoting import quote


def open_cache_folder(part: str = "", *, make: bool = True) -> Path:
    """Return the cache folder, ``$LORARY_CACHE`` or ``~/.cache/lorary``, which only its owner may enter.

    It may be a link made by this user, as on clusters where homes are small.

    Args:
        part: a folder in it, which is not a link; empty for the cache folder itself.
        make: whether it is made if it is missing.

    Returns:
        The folder itself, wherever links lead.

    Raises:
        PermissionError: if it or a link to it is another user's, the part is a link, or a mode cannot be
            changed.
        OSError: if it cannot be made, or is missing.
        RuntimeError: if the user has no home.
    """
    root = Path(os.environ.get("LORARY_CACHE") or Path.home() / ".cache" / "lorary")
    folder = _open_private(root, follow=True, make=make)
    return _open_private(folder / part, follow=False, make=make) if part else folder


def _open_private(path: Path, *, follow: bool, make: bool) -> Path:
    if make:
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
