"""A new folder that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lorary.errors import LibraryError
from lorary.files import quote


def require_free(place: str | Path) -> None:
    """Refuse a place where there is something already; an empty folder is free.

    Raises:
        LibraryError: if it is not free.
    """
    path = Path(place)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise LibraryError(
            f"{quote(str(path))} exists and is not empty: choose another place, or remove it first"
        )


@contextmanager
def new_folder(place: str | Path) -> Iterator[Path]:
    """Within this context fill a folder beside its place; it is moved there at the end, or removed.

    Args:
        place: where the folder shall be; missing folders above it are made.

    Yields:
        The folder to fill.

    Raises:
        LibraryError: if there is something at that place, or it cannot be written.
    """
    path = Path(place)
    require_free(path)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        # A temporary folder is its owner's only; this one is to be an ordinary folder.
        os.chmod(scratch, 0o755)
        yield scratch
        os.replace(scratch, path)
    # safetensors has an error of its own for a full disk.
    except (OSError, SafetensorError) as error:
        raise LibraryError(f"cannot write {quote(str(path))}: {error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
