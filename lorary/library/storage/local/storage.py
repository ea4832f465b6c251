"""``LocalStorage``: a library on a local disk, changed by journalled moves under locks."""

from contextlib import AbstractContextManager

from lorary.library.storage.local.change import LocalChange
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.publish import Publisher
from lorary.library.storage.locating import locate
from lorary.library.storage.lock import LOCK_TIMEOUT_S


class LocalStorage(LocalFolder):
    """See ``Storage``. Several processes may read and change it at the same time.

    Commits of experts wait for readers, so all reads in one ``with`` block see one revision.
    """

    def __init__(self, url: str, timeout: float = LOCK_TIMEOUT_S):
        super().__init__(url, locate(url)[1])
        self._publisher = Publisher(self, timeout)

    def make_root(self) -> None:
        """Make the library's own folder, and its parent folders."""
        self.make_folder()

    def reading(self) -> AbstractContextManager[None]:
        """Within this context no writer publishes; see ``Publisher.reading``."""
        return self._publisher.reading()

    def changing(self) -> AbstractContextManager[LocalChange]:
        """Within this context there is no other writer; see ``Publisher.writing``."""
        return self._publisher.writing()

    def tidy(self) -> None:
        """Finish and remove what this user's killed writers left, unless another writer is active."""
        self._publisher.tidy()

    def settle(self) -> list[tuple[str, str]]:
        """Finish and remove what any writer left; return source and target of each move."""
        found = self._publisher.settle()
        return [] if found is None else found.moves
