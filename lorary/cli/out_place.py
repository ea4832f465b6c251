"""Check the place of ``--out`` before any work is done."""

import os
import re
from pathlib import Path

from lorary.files import quote

# Path("s3://x") would be a local folder "s3:/x".
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:/")


def check_out(out: Path, library: str | None, *, is_file: bool = False) -> None:
    """Refuse a place that cannot be written, or that would overwrite something else.

    Args:
        out: the value of ``--out``.
        library: folder or URL of the command's library; None for none.
        is_file: whether a file will be written, not a folder.

    Raises:
        ValueError: with the reason.
        OSError: if the place cannot be inspected.
    """
    shown = f"--out {quote(str(out))}"
    if _URL.match(str(out)):
        raise ValueError(
            f"{shown} must be a local path, found a URL: choose a local path, and upload the result later"
        )
    if is_file and (out.is_symlink() or (out.exists() and not out.is_file())):
        raise ValueError(
            f"{shown} must be a regular file or not exist yet, found a folder, link or device: name a file"
        )
    if not is_file and out.exists() and not out.is_dir():
        raise ValueError(f"{shown} must be a folder or not exist yet, found a file or device: name a folder")
    above = next((parent for parent in out.absolute().parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise ValueError(
            f"{shown} must be inside a folder, but {quote(str(above))} is not a folder: choose another place"
        )
    if library is None:
        return
    inside = Path(os.path.realpath(out)).is_relative_to(os.path.realpath(library))
    if inside and "://" not in library:
        raise ValueError(f"{shown} must be outside library {quote(library)}: choose another place")
