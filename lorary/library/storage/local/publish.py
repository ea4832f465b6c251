"""Changes to a library that happen entirely or not at all, whatever kills the process.

A change is prepared in ``.lorary/tmp`` and then published by a few moves. The moves are first written down
in ``.lorary/journal.json``: from then on the change will happen, and whoever comes next after a crash makes
the moves that are left. Two locks keep processes apart: ``write.lock`` is held by one writer from preparing
to tidying, ``swap.lock`` by a writer only while it moves, and shared by readers while they read. So a
leftover that is seen while holding ``write.lock``, or a journal seen while holding ``swap.lock``, belongs to
the dead. Everyone passes ``gate.lock`` on the way to ``swap.lock``, so that a writer's turn comes.

Only what this machine's user left in this very folder is finished or cleared away. A library that was copied
or downloaded, or that others use too, may hold leftovers of others: a journal of theirs is refused until
somebody asks for it by ``settle``, what they staged is left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lorary.errors import FormatError, LibraryError
from lorary.files import quote, shorten
from lorary.library.storage.contract import FAILURES, KIND_WORDS, Outcome
from lorary.library.storage.local.change import LocalChange, drop_journal
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.journal import LEFTOVER, MOST_BYTES, Journal, moves_file, parse_journal
from lorary.library.storage.lock import LOCK_TIMEOUT_S
from lorary.library.storage.owner import identify_owner
from lorary.library.storage.places import JOURNAL, PRIVATE, TMP, TRASH


class Publisher:
    """Publishes folders and files in a storage, each change entirely or not at all."""

    def __init__(self, storage: LocalFolder, timeout: float = LOCK_TIMEOUT_S):
        self._storage = storage
        self._timeout = timeout
        self._write_lock = storage.make_lock(f"{PRIVATE}/write.lock")
        self._swap_lock = storage.make_lock(f"{PRIVATE}/swap.lock")
        # Without it, readers that overlap each other would keep a writer waiting for ever.
        self._gate = storage.make_lock(f"{PRIVATE}/gate.lock")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep writers from publishing while the block reads, after finishing what a dead one left.

        Raises:
            LibraryError: if a writer keeps the library for too long, or a change of somebody else is
                unfinished.
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
        """Be the only writer; on leaving, however that happens, nothing is left half-done.

        Raises:
            LibraryError: if another writer keeps the library for too long, or a change of somebody else is
                unfinished.
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
        """Finish and clear away what this user's dead writers left here, if no writer is at work."""
        # Busy or read-only: then it is for the next one who writes.
        with suppress(*FAILURES):
            if self._storage.find_kind(JOURNAL) or any(self._list_leftovers(identify_owner(self._storage))):
                with self.writing(timeout=0.0):
                    pass

    def settle(self) -> Journal | None:
        """Finish and clear away what anybody left, also another machine, another user, or a copy's original.

        Returns:
            The change that was finished, if there was one.

        Raises:
            LibraryError: if a writer is at work, or the journal is not one that a library writes.
        """
        with self._write_lock.hold(timeout=self._timeout):
            found = None if self._storage.find_kind(JOURNAL) is None else self._finish(None)
            self._clear("")
            return found

    @contextmanager
    def _swapping(self) -> Iterator[None]:
        """Keep all readers out: the gate stops new ones, the lock waits for those inside."""
        with self._gate.hold(timeout=self._timeout), self._swap_lock.hold(timeout=self._timeout):
            yield

    def _close(self, change: LocalChange, owner: str) -> None:
        """Bring a change to its end; what fails here is for the next writer, and is no part of the change."""
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
                f"library {quote(self._storage.url)} has a {JOURNAL} that cannot be obeyed "
                f"({shorten(str(error), 400)}); nothing was changed. What a writer left in {TMP} and {TRASH} "
                f"may be the only copy of an expert: move it back by hand, then delete {JOURNAL}"
            ) from error

    def _require_own(self, journal: Journal) -> None:
        if journal.owner == identify_owner(self._storage):
            return
        moves = "; ".join(f"{source!r} to {target!r}" for source, target in journal.moves)
        raise LibraryError(
            f"library {quote(self._storage.url)} holds a change that another machine, another user or the "
            f"library it was copied from began and did not finish ({shorten(moves, 300)}); nothing was "
            "changed. If nobody is writing to it now, `lorary library settle` finishes the change"
        )

    def _finish(self, owner: str | None) -> Journal:
        """Make the moves that are left of an unfinished change; ``owner`` None takes over anybody's."""
        with self._swapping():
            journal = self._read_journal()
            if owner is not None:
                self._require_own(journal)
            self._refuse_strangers(journal)
            source, target = journal.moves[-1]
            # The last move done means all done, though the trash may be emptied already.
            is_done = self._is_there(target) and not self._is_there(source)
            for source, target in [] if is_done else journal.moves:
                # A move that was made has no source any more, or its target (in tmp or trash) is there.
                if self._is_there(source) and not self._is_there(target):
                    self._storage.move(source, target)
            self._storage.sync_folder()
            drop_journal(self._storage)
            return journal

    def _is_there(self, path: str) -> bool:
        return self._storage.find_kind(path) is not None

    def _refuse_strangers(self, journal: Journal) -> None:
        """Make sure of what is moved before anything is."""
        for path in {path for move in journal.moves for path in move}:
            kind = self._storage.find_kind(path)
            if kind is not None and kind != ("file" if moves_file(path) else "folder"):
                raise LibraryError(
                    f"{JOURNAL} of library {quote(self._storage.url)} moves {quote(path)}, "
                    f"{KIND_WORDS[kind]}: nothing was changed; remove it, or delete {JOURNAL} once all "
                    "experts are there"
                )

    def _clear(self, owner: str) -> None:
        for path in self._list_leftovers(owner):
            # Rubbish that can't be removed now harms nobody; the next writer tries again.
            with suppress(OSError):
                self._storage.remove(path)

    def _list_leftovers(self, owner: str) -> Iterator[str]:
        """List what an owner staged; an empty one stands for everybody."""
        for place in (TMP, TRASH):
            for name in self._storage.list_kinds(place):
                if LEFTOVER.fullmatch(name) and name.startswith(owner):
                    yield f"{place}/{name}"
