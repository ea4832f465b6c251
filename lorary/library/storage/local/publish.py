"""Publishing changes of a library completely or not at all, even if the process is killed.

A change is staged in ``.lorary/tmp`` and then published by a few moves. First the moves are recorded in
``.lorary/journal.json``. From then on the change will be made: after a crash, the next process makes the
remaining moves.

There are three locks. One writer holds ``write.lock`` from staging to cleaning up. A writer holds
``swap.lock`` while it moves, and readers share it while they read. So staged files that are seen under
``write.lock``, and a journal that is seen under ``swap.lock``, were left by a killed process. Every process
passes through ``gate.lock`` before ``swap.lock``, so that overlapping readers cannot keep a writer waiting
forever.

Only leftovers of the same user, on the same machine, in the same folder are finished or removed. A library
that was copied or downloaded, or that others use, may have leftovers of others: their journal is refused
until the user calls ``settle``, and their staged files are kept.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lorary.errors import FormatError, LibraryError
from lorary.files import escape, quote
from lorary.library.storage.contract import FAILURES, KIND_WORDS, Outcome
from lorary.library.storage.local.change import LocalChange, drop_journal
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.journal import LEFTOVER, MOST_BYTES, Journal, moves_file, parse_journal
from lorary.library.storage.lock import LOCK_TIMEOUT_S
from lorary.library.storage.owner import identify_owner
from lorary.library.storage.places import JOURNAL, PRIVATE, TMP, TRASH


class Publisher:
    """Publishes changes of folders and files, each completely or not at all.

    Args:
        storage: the library's storage.
        timeout: seconds to wait for other processes.
    """

    def __init__(self, storage: LocalFolder, timeout: float = LOCK_TIMEOUT_S):
        self._storage = storage
        self._timeout = timeout
        self._write_lock = storage.make_lock(f"{PRIVATE}/write.lock")
        self._swap_lock = storage.make_lock(f"{PRIVATE}/swap.lock")
        # Without it, overlapping readers could keep a writer waiting forever.
        self._gate = storage.make_lock(f"{PRIVATE}/gate.lock")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within this context no writer publishes; an unfinished change of a killed writer is finished first.

        Raises:
            LibraryError: if a writer holds the library for too long, or a change of another machine or user
                is unfinished.
        """
        while True:
            with self._gate.hold(shared=True, timeout=self._timeout):
                pass
            with self._swap_lock.hold(shared=True, timeout=self._timeout):
                if self._storage.find_kind(JOURNAL) is None:
                    yield
                    return
                self._require_own(self._read_journal())
            with self.writing():
                pass

    @contextmanager
    def writing(self, timeout: float | None = None) -> Iterator[LocalChange]:
        """Within this context there is no other writer; at its end, the change is finished or undone.

        Raises:
            LibraryError: if another writer holds the library for too long, or a change of another machine or
                user is unfinished.
        """
        with self._write_lock.hold(timeout=self._timeout if timeout is None else timeout):
            owner = identify_owner(self._storage)
            if self._storage.find_kind(JOURNAL) is not None:
                self._finish(owner)
            self._clear(owner)
            change = LocalChange(self._storage, owner, self._swapping)
            try:
                yield change
            finally:
                self._close(change, owner)

    def tidy(self) -> None:
        """Finish and remove what this user's killed writers left, unless another writer is active."""
        # If the library is busy or read-only, the next writer does it.
        with suppress(*FAILURES):
            if self._storage.find_kind(JOURNAL) or any(self._list_leftovers(identify_owner(self._storage))):
                with self.writing(timeout=0.0):
                    pass

    def settle(self) -> Journal | None:
        """Finish and remove what any writer left: of other machines and users, or of a copy's original.

        Returns:
            The change that was finished; None if there was none.

        Raises:
            LibraryError: if a writer is active, or the journal is not one that a library writes.
        """
        with self._write_lock.hold(timeout=self._timeout):
            found = None if self._storage.find_kind(JOURNAL) is None else self._finish(None)
            self._clear("")
            return found

    @contextmanager
    def _swapping(self) -> Iterator[None]:
        """Within this context there are no readers: the gate stops new ones, the lock waits for others."""
        with self._gate.hold(timeout=self._timeout), self._swap_lock.hold(timeout=self._timeout):
            yield

    def _close(self, change: LocalChange, owner: str) -> None:
        """Finish a change and clean up. Failures are ignored: the next writer tries again."""
        with suppress(*FAILURES):
            change.determine_outcome()
            if self._storage.find_kind(JOURNAL) is not None:
                self._finish(owner)
                change.outcome = Outcome.MADE
            self._clear(owner)

    def _read_journal(self) -> Journal:
        try:
            return parse_journal(self._storage.read(JOURNAL, end=MOST_BYTES), self._storage.path(JOURNAL))
        except FormatError as error:
            raise LibraryError(
                f"library {quote(self._storage.url)} has an invalid {JOURNAL} "
                f"({escape(str(error), longest=400)}); nothing was changed. A folder in {TMP} or {TRASH} "
                f"may be the only copy of an expert: move it back by hand, then delete {JOURNAL}"
            ) from error

    def _require_own(self, journal: Journal) -> None:
        if journal.owner == identify_owner(self._storage):
            return
        moves = "; ".join(f"{source!r} to {target!r}" for source, target in journal.moves)
        raise LibraryError(
            f"library {quote(self._storage.url)} has an unfinished change of another machine, of another "
            f"user or of the library that it was copied from ({escape(moves, longest=300)}); nothing was "
            "changed. If no process is writing to it now, `lorary library settle` finishes the change"
        )

    def _finish(self, owner: str | None) -> Journal:
        """Make the remaining moves of an unfinished change; ``owner`` None accepts one of any writer."""
        with self._swapping():
            journal = self._read_journal()
            if owner is not None:
                self._require_own(journal)
            self._refuse_strangers(journal)
            source, target = journal.moves[-1]
            # If the last move was made, all were; earlier targets may be missing because the trash is
            # emptied.
            is_done = self._is_there(target) and not self._is_there(source)
            for source, target in [] if is_done else journal.moves:
                # A move that was made has no source any more, or its target (in tmp or trash) exists.
                if self._is_there(source) and not self._is_there(target):
                    self._storage.move(source, target)
            self._storage.sync_folder()
            drop_journal(self._storage)
            return journal

    def _is_there(self, path: str) -> bool:
        return self._storage.find_kind(path) is not None

    def _refuse_strangers(self, journal: Journal) -> None:
        """Check that all moved paths are of the expected kind, before any is moved."""
        for path in {path for move in journal.moves for path in move}:
            kind = self._storage.find_kind(path)
            if kind is not None and kind != ("file" if moves_file(path) else "folder"):
                raise LibraryError(
                    f"{JOURNAL} of library {quote(self._storage.url)} moves {quote(path)}, which is "
                    f"{KIND_WORDS[kind]}: nothing was changed; remove it, or delete {JOURNAL} after checking "
                    "that all experts exist"
                )

    def _clear(self, owner: str) -> None:
        for path in self._list_leftovers(owner):
            # A leftover that cannot be removed does no harm; the next writer tries again.
            with suppress(OSError):
                self._storage.remove(path)

    def _list_leftovers(self, owner: str) -> Iterator[str]:
        """Yield the staged paths of an owner; ``""`` for all owners."""
        for place in (TMP, TRASH):
            for name in self._storage.list_kinds(place):
                if LEFTOVER.fullmatch(name) and name.startswith(owner):
                    yield f"{place}/{name}"
