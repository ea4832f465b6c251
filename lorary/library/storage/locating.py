"""Finding the file system of a URL, and its path there."""

import fsspec
from fsspec import AbstractFileSystem

from lorary.errors import LibraryError
from lorary.files import quote


def locate(url: str) -> tuple[AbstractFileSystem, str]:
    """Return a URL's file system and its path there, without a slash at its end.

    Raises:
        LibraryError: if no file system is known for it, or a package is missing.
    """
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise LibraryError(f"{quote(url)} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise LibraryError(
            f"a library's place must be a folder or a URL that fsspec knows, found {quote(url)} ({error}): "
            "name a folder, or a URL such as 'memory://name'"
        ) from error
    return fs, root.rstrip("/") or "/"
