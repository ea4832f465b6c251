"""The table of storages by URL scheme."""

import os
from collections.abc import Callable

from fsspec.utils import get_protocol

from lorary.library.storage.contract import Storage
from lorary.library.storage.local.storage import LocalStorage
from lorary.library.storage.lock import LOCK_TIMEOUT_S
from lorary.library.storage.remote.storage import RemoteStorage

STORAGES: dict[str, Callable[[str, float], Storage]] = {"file": LocalStorage, "local": LocalStorage}
"""URL scheme -> function from URL and timeout in seconds to storage; other schemes use ``RemoteStorage``."""


def open_storage(url: str | os.PathLike[str], timeout: float = LOCK_TIMEOUT_S) -> Storage:
    """Return the storage of a URL; its folder need not exist yet.

    Args:
        url: a folder's path, or a URL of a scheme in ``STORAGES`` or of fsspec.
        timeout: seconds to wait for other writers.

    Raises:
        LibraryError: if the scheme is unknown, or needs a package that is not installed.
    """
    place = os.fspath(url)
    return STORAGES.get(get_protocol(place), RemoteStorage)(place, timeout)
