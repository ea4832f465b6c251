"""``RemoteStorage``: a library on any fsspec file system other than a local disk."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lorary.errors import FormatError, LibraryError
from lorary.files import escape, quote
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

    A commit is staged and recorded in a journal that is created exclusively. From then on it will be made, by
    this process or a later one. A reader in the writer's process sees one revision. A reader in another
    process finds the journal if it exists when the reading begins; a commit that begins later may be seen in
    part, which shows as a hash that differs.
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
        """Within this context no thread of this process writes; an unfinished change is finished first."""
        with self._lock.hold(timeout=self._timeout):
            self._finish(identify_owner(self))
            yield

    @contextmanager
    def changing(self) -> Iterator[RemoteChange]:
        """Within this context there is no other writer in this process."""
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
        """Finish and remove what this user's killed writers left."""
        # If the file system is read-only, the next writer does it.
        with suppress(*FAILURES), self.changing():
            pass

    def settle(self) -> list[tuple[str, str]]:
        """Finish and remove what any writer left; return source and target of each copy."""
        with self._lock.hold(timeout=self._timeout):
            found = self._finish(None)
            self._clear("")
            return [] if found is None else [(source, target) for target, source in found.copies.items()]

    def _close(self, change: RemoteChange, owner: str) -> None:
        """Finish a change and clean up. Failures are ignored: the next writer tries again."""
        with suppress(*FAILURES):
            if change.outcome is Outcome.UNFINISHED:
                self._finish(owner)
                change.outcome = Outcome.MADE
            self._clear(owner)

    def _finish(self, owner: str | None) -> RemoteJournal | None:
        """Make the copies of an unfinished change; ``owner`` None accepts one of any writer."""
        try:
            content = self.read(JOURNAL, end=MOST_BYTES)
        except FileNotFoundError:
            return None
        try:
            journal = parse_journal(content, self.path(JOURNAL))
        except FormatError as error:
            raise LibraryError(
                f"library {quote(self.url)} has an invalid {JOURNAL} "
                f"({escape(str(error), longest=400)}); nothing was changed. A file in {TMP} "
                f"may be the only copy of one of an expert's: move it back by hand, then delete {JOURNAL}"
            ) from error
        if owner not in (None, journal.owner):
            raise LibraryError(
                f"library {quote(self.url)} has an unfinished change of another machine, of another user or "
                f"of the library that it was copied from ({escape(', '.join(journal.copies), longest=300)}); "
                "nothing was changed. If no process is writing to it now, `lorary library settle` finishes "
                "the change"
            )
        make_copies(self, journal)
        return journal

    def _clear(self, owner: str) -> None:
        """Remove the staged files of an owner; ``""`` for all owners."""
        for name in self.list_kinds(TMP):
            if STAGED.fullmatch(f"{TMP}/{name}") and name.startswith(owner):
                # A leftover that cannot be removed does no harm; the next writer tries again.
                with suppress(OSError):
                    self.remove(f"{TMP}/{name}")
