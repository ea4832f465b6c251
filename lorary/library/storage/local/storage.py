"""``LocalStorage``: a library on a local disk, changed by journalled moves under locks."""

from contextlib import AbstractContextManager

from lorary.library.storage.local.change import LocalChange
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.publish import Publisher
from lorary.library.storage.locating import locate
from lorary.library.storage.lock import LOCK_TIMEOUT_S


class LocalStorage(LocalFolder):
    """See ``Storage``. Several processes may read and change it at once.

    A reader keeps commits of experts waiting, so what it sees in one ``with`` block is one revision.
    """

    def __init__(self, url: str, timeout: float = LOCK_TIMEOUT_S):
        super().__init__(url, locate(url)[1])
        self._publisher = Publisher(self, timeout)

    def make_root(self) -> None:
        """Make the library's own folder, and those above it."""
        self.make_folder()

    def reading(self) -> AbstractContextManager[None]:
        """Keep writers from publishing while the block reads, after finishing what a dead one left."""
        return self._publisher.reading()

    def changing(self) -> AbstractContextManager[LocalChange]:
        """Be the only writer."""
        return self._publisher.writing()

    def tidy(self) -> None:
        """Finish and clear away what this user's dead writers left here, if no writer is at work."""
        self._publisher.tidy()

    def settle(self) -> list[tuple[str, str]]:
        """Finish and clear away what anybody left, also another machine, another user, or a copy."""
        found = self._publisher.settle()
        return [] if found is None else found.moves
