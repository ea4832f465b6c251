"""Making a new folder completely or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lorary.errors import LibraryError
from lorary.files import quote


def require_free(place: str | Path) -> None:
    """Check that nothing exists at a place; an empty folder is allowed.

    Raises:
        LibraryError: if something does.
    """
    path = Path(place)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise LibraryError(
            f"{quote(str(path))} exists and is not empty: choose another place, or remove it first"
        )


@contextmanager
def new_folder(place: str | Path) -> Iterator[Path]:
    """Within this context, fill a temporary folder; at the end it is moved to its place, or removed.

    Args:
        place: the new folder's path; missing parent folders are made.

    Yields:
        The folder to fill, beside its place so that moving it is one rename.

    Raises:
        LibraryError: if something exists at that place, or it cannot be written.
    """
    path = Path(place)
    require_free(path)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp gives access to the owner only; the result should be an ordinary folder with the permissions
        # of the umask.
        unfinished = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        unfinished.mkdir()
        scratch = unfinished
        yield scratch
        os.replace(scratch, path)
    # On a full disk, safetensors raises its own type of error.
    except (OSError, SafetensorError) as error:
        raise LibraryError(f"cannot write {quote(str(path))}: {error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
