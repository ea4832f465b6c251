"""One change to a library: prepared where nobody sees it, published by a few moves, or taken back."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum

from lorary.errors import FormatError, LibraryError
from lorary.files import quote
from lorary.library.journal import JOURNAL, PRIVATE, TMP, Journal, Move, dump_journal
from lorary.library.storage import KIND_WORDS, Storage

FAILURES = (OSError, LibraryError, FormatError)
"""What a storage raises when it cannot do what it is asked for."""


class Outcome(Enum):
    """What became of a change, for whoever is told that it failed."""

    UNCHANGED = "The library is as it was"
    MADE = "The change itself was made"
    UNFINISHED = "The change is half made; whoever uses the library next finishes it, and nothing is lost"
    UNKNOWN = (
        "Whether the change was made could not be found out: list the library to see; it is whole either way"
    )


class Change:
    """What a writer may do while it is the only one.

    Args:
        storage: the library's.
        owner: whose change it is, see ``find_owner``.
        swapping: keeps all readers out for the length of a ``with`` block.
    """

    def __init__(self, storage: Storage, owner: str, swapping: Callable[[], AbstractContextManager[None]]):
        self.outcome = Outcome.UNCHANGED
        self._storage = storage
        self._owner = owner
        self._swapping = swapping
        self._moves: Sequence[Move] = ()

    def stage(self, files: Mapping[str, bytes]) -> str:
        """Write files into a new folder that nobody sees yet.

        Returns:
            The folder's path, for ``publish`` to move from.
        """
        folder = self.new_path(TMP)
        self._storage.make_folder(folder)
        self._storage.write_many({f"{folder}/{name}": content for name, content in files.items()})
        self._storage.sync_folder(folder)
        return folder

    def stage_copy(self, source: str, changed: Mapping[str, bytes]) -> str:
        """Copy a folder into a new one that nobody sees yet, some of its files changed.

        Raises:
            LibraryError: if something in it is no file, such as a link.
        """
        found = self._storage.walk(source)
        for path, kind in found.items():
            if kind != "file":
                raise LibraryError(
                    f"{quote(path)} in library {quote(self._storage.url)} is {KIND_WORDS[kind]}, "
                    "where only files can be copied: remove it, or put in its place what it leads to"
                )
        folder = self.stage(changed)
        for file in found:
            name = file[len(source) + 1 :]
            if name not in changed:
                self._storage.make_folder(f"{folder}/{name}".rpartition("/")[0])
                self._storage.copy_file(file, f"{folder}/{name}")
        self._storage.sync_folder(folder)
        return folder

    def new_path(self, parent: str) -> str:
        """Return a path in ``TMP`` or ``TRASH`` that is free, and known as the owner's; its parent exists."""
        self._storage.make_folder(parent)
        return f"{parent}/{self._owner}{uuid.uuid4().hex[len(self._owner) :]}"

    def publish(self, moves: Sequence[Move]) -> None:
        """Make all of these moves or none.

        Args:
            moves: source and target of each; no target may exist when its turn comes.

        Raises:
            OSError: if a move failed; ``outcome`` says what became of the others.
        """
        with self._swapping():
            # A single rename is atomic by itself.
            if len(moves) > 1:
                self._write_journal(moves)
            self._make_moves(moves)
            if len(moves) > 1:
                drop_journal(self._storage)

    def write_whole(self, files: Mapping[str, bytes]) -> None:
        """Write files, path -> content, each there entirely or not at all, replacing any."""
        staged = {path: self.new_path(TMP) for path in files}
        self._storage.write_many({staged[path]: content for path, content in files.items()})
        folders = {path.rpartition("/")[0] for path in files}
        for folder in folders:
            if folder:
                self._storage.make_folder(folder)
        for path, source in staged.items():
            self._storage.move(source, path)
        for folder in folders:
            self._storage.sync_folder(folder)

    def find_outcome(self) -> None:
        """Look what became of a change that failed so that it could not be told then.

        Raises:
            OSError: if that can't be told now either.
        """
        if self.outcome not in (Outcome.UNKNOWN, Outcome.UNFINISHED):
            return
        if len(self._moves) == 1:
            self.outcome = Outcome.MADE if self._was_made(self._moves[0]) else Outcome.UNCHANGED
        elif self._storage.find_kind(JOURNAL) is None:
            # It goes last of all, so either it never came or all moves were taken back.
            self.outcome = Outcome.UNCHANGED

    def _write_journal(self, moves: Sequence[Move]) -> None:
        staged = self.new_path(TMP)
        self._storage.write(staged, dump_journal(Journal(self._owner, list(moves))))
        try:
            self._storage.move(staged, JOURNAL)
            self._storage.sync_folder(PRIVATE)
        except FAILURES:
            # Else the next writer would make the moves that this one reports as failed.
            self.outcome = Outcome.UNKNOWN
            drop_journal(self._storage)
            self.outcome = Outcome.UNCHANGED
            raise

    def _make_moves(self, moves: Sequence[Move]) -> None:
        self._moves = moves
        done = 0
        try:
            for source, target in moves:
                self._storage.move(source, target)
                done += 1
            self._storage.sync_folder()
            self.outcome = Outcome.MADE
        except FAILURES:
            self._undo(done)
            raise

    def _undo(self, done: int) -> None:
        """Take back moves. If that fails, the journal stays and the change happens: nothing is lost."""
        is_single = len(self._moves) == 1
        self.outcome = Outcome.UNKNOWN if is_single else Outcome.UNFINISHED
        # A move that failed may have been made nevertheless, such as on a server whose answer was lost.
        if done < len(self._moves) and self._was_made(self._moves[done]):
            done += 1
        for source, target in reversed(self._moves[:done]):
            self._storage.move(target, source)
        if not is_single:
            self.outcome = Outcome.UNKNOWN
            drop_journal(self._storage)
        self.outcome = Outcome.UNCHANGED

    def _was_made(self, move: Move) -> bool:
        source, target = move
        return self._storage.find_kind(source) is None and self._storage.find_kind(target) is not None


def drop_journal(storage: Storage) -> None:
    """Remove the journal for good: one that came back after a power cut would be obeyed."""
    storage.remove(JOURNAL)
    storage.sync_folder(PRIVATE)
