"""Where ``--out`` may point: looked at before any work is done."""

import os
import re
from pathlib import Path

from lorary.files import quote

# pathlib makes a local folder of a URL.
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:/")


def check_out(out: Path, library: str, *, is_file: bool = False) -> None:
    """Refuse a place where nothing can be written, or where something else would be overwritten.

    Args:
        out: the value of ``--out``.
        library: folder or URL of the library that is read.
        is_file: whether a file will be written, not a folder.

    Raises:
        ValueError: saying why.
        OSError: if it cannot be looked at.
    """
    shown = f"--out {quote(str(out))}"
    if _URL.match(str(out)):
        raise ValueError(f"{shown} must be a place on this machine: copy what is written there later")
    if is_file and (out.is_symlink() or (out.exists() and not out.is_file())):
        raise ValueError(
            f"{shown} must be a file or nothing yet, found a folder, a link or a device: name a file"
        )
    if not is_file and out.exists() and not out.is_dir():
        raise ValueError(f"{shown} must be a folder or nothing yet, found a file or a device: name a folder")
    above = next((parent for parent in out.absolute().parents if parent.exists()), None)
    if above is not None and not above.is_dir():
        raise ValueError(
            f"{shown} must lie in a folder, but {quote(str(above))} is none: choose another place"
        )
    inside = Path(os.path.realpath(out)).is_relative_to(os.path.realpath(library))
    if inside and "://" not in library:
        raise ValueError(f"{shown} must lie outside of library {quote(library)}: choose another place")
