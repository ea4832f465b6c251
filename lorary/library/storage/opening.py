"""Finding out which kind of storage a URL asks for."""

import os
from collections.abc import Callable

from fsspec.utils import get_protocol

from lorary.library.storage.contract import Storage
from lorary.library.storage.local.storage import LocalStorage
from lorary.library.storage.lock import LOCK_TIMEOUT_S
from lorary.library.storage.remote.storage import RemoteStorage

STORAGES: dict[str, Callable[[str, float], Storage]] = {"file": LocalStorage, "local": LocalStorage}
"""A URL's scheme -> (URL, seconds to wait for other writers) -> storage."""


def open_storage(url: str | os.PathLike[str], timeout: float = LOCK_TIMEOUT_S) -> Storage:
    """Find the folder at a URL, which need not be there yet.

    Args:
        url: a folder's path, or a URL; what is not in ``STORAGES`` is looked for in fsspec.
        timeout: seconds to wait while others write.

    Raises:
        LibraryError: if it is no place that can be reached.
    """
    place = os.fspath(url)
    return STORAGES.get(get_protocol(place), RemoteStorage)(place, timeout)
