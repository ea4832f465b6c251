"""Changes to a library that happen entirely or not at all, whatever kills the process.

A change is prepared in ``.lorary/tmp`` and then published by a few moves. The moves are first written down
in ``.lorary/journal.json``: from then on the change will happen, and whoever comes next after a crash makes
the moves that are left. Two locks keep processes apart: ``write.lock`` is held by one writer from preparing
to tidying, ``swap.lock`` by a writer only while it moves, and shared by readers while they read. So a
leftover that is seen while holding ``write.lock``, or a journal seen while holding ``swap.lock``, belongs to
the dead. Everyone passes ``gate.lock`` on the way to ``swap.lock``, so that a writer's turn comes.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from lorary.errors import LibraryError
from lorary.library.lock import LOCK_TIMEOUT_S, FileLock, Lock, ThreadLock
from lorary.library.storage import Storage

PRIVATE = ".lorary"
JOURNAL = f"{PRIVATE}/journal.json"
TMP = f"{PRIVATE}/tmp"
TRASH = f"{PRIVATE}/trash"

Move = tuple[str, str]


class Publisher:
    """Publishes folders and files in a storage, each change entirely or not at all."""

    def __init__(self, storage: Storage, timeout: float = LOCK_TIMEOUT_S):
        self._storage = storage
        self._timeout = timeout
        self._write_lock = self._make_lock("write.lock")
        self._swap_lock = self._make_lock("swap.lock")
        # Without it, readers that overlap each other would keep a writer waiting for ever.
        self._gate = self._make_lock("gate.lock")

    def _make_lock(self, name: str) -> Lock:
        owner = f"library {self._storage.url!r}"
        if self._storage.is_local:
            return FileLock(self._storage.path(f"{PRIVATE}/{name}"), owner)
        return ThreadLock(owner)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep writers from publishing while the block reads, after finishing what a dead one left.

        Raises:
            LibraryError: if a writer keeps the library for too long.
        """
        while True:
            with self._gate.hold(shared=True, timeout=self._timeout):
                pass
            with self._swap_lock.hold(shared=True, timeout=self._timeout):
                if not self._storage.exists(JOURNAL):
                    yield
                    return
            with self.writing():
                pass

    @contextmanager
    def writing(self, timeout: float | None = None) -> Iterator[None]:
        """Be the only writer; on leaving, however that happens, nothing is left half-done.

        Raises:
            LibraryError: if another writer keeps the library for too long.
        """
        with self._write_lock.hold(timeout=self._timeout if timeout is None else timeout):
            self._settle()
            try:
                yield
            finally:
                self._settle()

    @contextmanager
    def _swapping(self) -> Iterator[None]:
        """Keep all readers out: the gate stops new ones, the lock waits for those inside."""
        with self._gate.hold(timeout=self._timeout), self._swap_lock.hold(timeout=self._timeout):
            yield

    def tidy(self) -> None:
        """Clear away what dead writers left, if there is any and no writer is at work."""
        if any(self._storage.list_names(place) for place in (TMP, TRASH)) or self._storage.exists(JOURNAL):
            # Busy or read-only: then it is for the next one who writes.
            with suppress(LibraryError, OSError), self.writing(timeout=0.0):
                pass

    def stage(self, files: Mapping[str, bytes]) -> str:
        """Write files into a new folder that nobody sees yet; call within ``writing``.

        Returns:
            The folder's path, for ``publish`` to move from.
        """
        folder = self.new_path(TMP)
        self._storage.make_folder(folder)
        self._storage.write_many({f"{folder}/{name}": content for name, content in files.items()})
        self._storage.sync_folder(folder)
        return folder

    def stage_copy(self, source: str, changed: Mapping[str, bytes]) -> str:
        """Copy a folder into a new one that nobody sees yet, some of its files changed."""
        folder = self.stage(changed)
        for file in self._storage.list_files(source):
            name = file[len(source) + 1 :]
            if name not in changed:
                self._storage.make_folder(f"{folder}/{name}".rpartition("/")[0])
                self._storage.copy_file(file, f"{folder}/{name}")
        self._storage.sync_folder(folder)
        return folder

    def new_path(self, parent: str) -> str:
        """Return a path in ``TMP`` or ``TRASH`` that is free; its parent exists."""
        self._storage.make_folder(parent)
        return f"{parent}/{uuid.uuid4().hex}"

    def publish(self, moves: Sequence[Move]) -> None:
        """Make all of these moves or none; call within ``writing``.

        Args:
            moves: source and target of each; no target may exist when its turn comes.

        Raises:
            OSError: if a move failed; those before it are undone.
        """
        with self._swapping():
            # A single rename is atomic by itself.
            if len(moves) > 1:
                self._write_journal(moves)
            self._make_moves(moves)
            self._storage.remove(JOURNAL)

    def write_whole(self, files: Mapping[str, bytes]) -> None:
        """Write files, each there entirely or not at all, replacing any; call within ``writing``.

        Args:
            files: path -> content.
        """
        staged = {path: self.new_path(TMP) for path in files}
        self._storage.write_many({staged[path]: content for path, content in files.items()})
        folders = {path.rpartition("/")[0] for path in files}
        for folder in folders:
            self._storage.make_folder(folder)
        for path, source in staged.items():
            self._storage.move(source, path)
        for folder in folders:
            self._storage.sync_folder(folder)

    def _write_journal(self, moves: Sequence[Move]) -> None:
        try:
            self.write_whole({JOURNAL: json.dumps({"moves": moves}).encode()})
        except OSError:
            # Else the next writer would make the moves that this one reports as failed.
            self._storage.remove(JOURNAL)
            raise

    def _make_moves(self, moves: Sequence[Move]) -> None:
        done: list[Move] = []
        try:
            for source, target in moves:
                self._storage.move(source, target)
                done.append((source, target))
            self._storage.sync_folder()
        except OSError:
            for source, target in reversed(done):
                # If this fails too, the journal stays and the change happens after all: nothing is lost.
                self._storage.move(target, source)
            self._storage.remove(JOURNAL)
            raise

    def _settle(self) -> None:
        if self._storage.exists(JOURNAL):
            with self._swapping():
                self._finish_journal()
        for place in (TMP, TRASH):
            for name in self._storage.list_names(place):
                # Rubbish that can't be removed now harms nobody; the next writer tries again.
                with suppress(OSError):
                    self._storage.remove(f"{place}/{name}")

    def _finish_journal(self) -> None:
        try:
            moves = json.loads(self._storage.read(JOURNAL))["moves"]
        except (ValueError, KeyError, TypeError) as error:
            raise LibraryError(
                f"library {self._storage.url!r} has an unreadable {JOURNAL}: what a writer left in "
                f"{TMP} and {TRASH} may be the only copy; move it back by hand, then delete {JOURNAL}"
            ) from error
        source, target = moves[-1]
        # The last move done means all done, though the trash may be emptied already.
        is_done = self._storage.exists(target) and not self._storage.exists(source)
        for source, target in [] if is_done else moves:
            # A move that was made has no source any more, or its target (in tmp or trash) is there.
            if self._storage.exists(source) and not self._storage.exists(target):
                self._storage.move(source, target)
        self._storage.sync_folder()
        self._storage.remove(JOURNAL)
