"""Finding out which kind of storage a URL asks for."""

import os

import fsspec
from fsspec.implementations.local import LocalFileSystem

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library.local_storage import LocalStorage
from lorary.library.remote_storage import RemoteStorage
from lorary.library.storage import Storage


def open_storage(url: str | os.PathLike[str]) -> Storage:
    """Find the folder at a URL, which need not be there yet.

    Raises:
        LibraryError: if it is no place that can be reached.
    """
    place = os.fspath(url)
    try:
        fs, root = fsspec.core.url_to_fs(place)
    except ImportError as error:
        raise LibraryError(f"{quote(place)} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise LibraryError(
            f"{quote(place)} is not a place lorary can reach ({error}): "
            "give a folder, or a URL such as 'memory://name'"
        ) from error
    root = root.rstrip("/") or "/"
    return LocalStorage(place, root) if isinstance(fs, LocalFileSystem) else RemoteStorage(place, fs, root)
