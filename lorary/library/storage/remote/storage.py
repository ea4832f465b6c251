"""``RemoteStorage``: a library on any file system that fsspec knows and that is no local disk."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lorary.errors import FormatError, LibraryError
from lorary.files import quote, shorten
from lorary.library.storage.contract import FAILURES, Outcome
from lorary.library.storage.locating import locate
from lorary.library.storage.lock import LOCK_TIMEOUT_S, ThreadLock
from lorary.library.storage.owner import identify_owner
from lorary.library.storage.places import JOURNAL, TMP
from lorary.library.storage.remote.change import RemoteChange, make_copies
from lorary.library.storage.remote.folder import RemoteFolder
from lorary.library.storage.remote.journal import MOST_BYTES, STAGED, RemoteJournal, parse_journal


class RemoteStorage(RemoteFolder):
    """See ``Storage``. One process at a time may change it; its threads exclude each other.

    A commit is staged and written down by exclusive create; from then on it will happen, whoever makes its
    copies. A reader in the process that writes sees one revision. One in another process finds the journal
    when it begins to read, but may see the commit in part if that begins later; hashes then tell.
    """

    def __init__(self, url: str, timeout: float = LOCK_TIMEOUT_S):
        super().__init__(url, *locate(url))
        self._timeout = timeout
        self._lock = ThreadLock(f"library {quote(url)}")

    def make_root(self) -> None:
        """Make the library's own folder."""
        self.make_folder()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep this process's writers out while the block reads, after finishing what a dead one left."""
        with self._lock.hold(timeout=self._timeout):
            self._finish(identify_owner(self))
            yield

    @contextmanager
    def changing(self) -> Iterator[RemoteChange]:
        """Be the only writer of this process."""
        with self._lock.hold(timeout=self._timeout):
            owner = identify_owner(self)
            self._finish(owner)
            self._clear(owner)
            change = RemoteChange(self, owner)
            try:
                yield change
            finally:
                self._close(change, owner)

    def tidy(self) -> None:
        """Finish and clear away what this user's dead writers left here."""
        # Read-only: then it is for the next one who writes.
        with suppress(*FAILURES), self.changing():
            pass

    def settle(self) -> list[tuple[str, str]]:
        """Finish and clear away what anybody left; return what was copied, and where to."""
        with self._lock.hold(timeout=self._timeout):
            found = self._finish(None)
            self._clear("")
            return [] if found is None else [(source, target) for target, source in found.copies.items()]

    def _close(self, change: RemoteChange, owner: str) -> None:
        """Bring a change to its end; what fails here is for the next writer, and is no part of the change."""
        with suppress(*FAILURES):
            if change.outcome is Outcome.UNFINISHED:
                self._finish(owner)
                change.outcome = Outcome.MADE
            self._clear(owner)

    def _finish(self, owner: str | None) -> RemoteJournal | None:
        """Make the copies of an unfinished change; ``owner`` None takes over anybody's."""
        try:
            content = self.read(JOURNAL, end=MOST_BYTES)
        except FileNotFoundError:
            return None
        try:
            journal = parse_journal(content, self.path(JOURNAL))
        except FormatError as error:
            raise LibraryError(
                f"library {quote(self.url)} has a {JOURNAL} that cannot be obeyed "
                f"({shorten(str(error), 400)}); nothing was changed. What a writer left in {TMP} "
                f"may be the only copy of an expert: move it back by hand, then delete {JOURNAL}"
            ) from error
        if owner not in (None, journal.owner):
            raise LibraryError(
                f"library {quote(self.url)} holds a change that another machine, another user or the library "
                f"it was copied from began and did not finish ({shorten(', '.join(journal.copies), 300)}); "
                "nothing was changed. If nobody is writing to it now, `lorary library settle` finishes the "
                "change"
            )
        make_copies(self, journal)
        return journal

    def _clear(self, owner: str) -> None:
        """Remove what an owner staged; an empty one stands for everybody."""
        for name in self.list_kinds(TMP):
            if STAGED.fullmatch(f"{TMP}/{name}") and name.startswith(owner):
                # Rubbish that can't be removed now harms nobody; the next writer tries again.
                with suppress(OSError):
                    self.remove(f"{TMP}/{name}")
