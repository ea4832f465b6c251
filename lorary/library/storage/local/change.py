"""One change to a library on a local disk: staged, then published by a few moves, or undone."""

import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from lorary.library.storage.contract import FAILURES, Outcome, Puts, Revision, Stored
from lorary.library.storage.local.folder import LocalFolder
from lorary.library.storage.local.journal import Journal, Move, dump_journal, plan_renaming, plan_replacement
from lorary.library.storage.local.plan import FolderChange, plan_commit
from lorary.library.storage.places import JOURNAL, PRIVATE, TMP, TRASH


class LocalChange:
    """See ``Change``. Its user holds the write lock.

    Args:
        storage: the library's storage.
        owner: identifies the writer, see ``identify_owner``.
        swapping: returns a context that keeps all readers out.
    """

    def __init__(
        self, storage: LocalFolder, owner: str, swapping: Callable[[], AbstractContextManager[None]]
    ):
        self.outcome = Outcome.UNCHANGED
        self._storage = storage
        self._owner = owner
        self._swapping = swapping
        self._moves: Sequence[Move] = ()

    def commit(self, puts: Puts, deletes: Collection[str] = ()) -> Revision:
        """Remove paths, then put others; see ``Change``. A renamed expert is moved, not copied."""
        plan = plan_commit(self._storage, puts, deletes)
        if moves := [move for change in plan.folders for move in self._stage_change(change)]:
            self.publish(moves)
        self.write_whole(plan.puts)
        for path in plan.deletes:
            self._storage.remove(path)
        return uuid.uuid4().hex

    def stage(self, files: Puts) -> str:
        """Write files into a new staging folder.

        Returns:
            The folder's path, which ``publish`` moves.
        """
        folder = self.new_path(TMP)
        self._storage.make_folder(folder)
        self._write({f"{folder}/{name}": source for name, source in files.items()})
        self._storage.sync_folder(folder)
        return folder

    def new_path(self, parent: str) -> str:
        """Return a new path in ``TMP`` or ``TRASH`` that begins with the owner's id; its parent is made."""
        self._storage.make_folder(parent)
        return f"{parent}/{self._owner}{uuid.uuid4().hex[len(self._owner) :]}"

    def publish(self, moves: Sequence[Move]) -> None:
        """Make all of these moves or none.

        Args:
            moves: source and target of each, in order; a target must not exist when its move is made.

        Raises:
            OSError: if a move failed; ``outcome`` has the state of the others.
        """
        with self._swapping():
            # A single rename is atomic by itself.
            if len(moves) > 1:
                self._write_journal(moves)
            self._make_moves(moves)
            if len(moves) > 1:
                drop_journal(self._storage)

    def write_whole(self, files: Puts) -> None:
        """Write or replace files, path -> source, each completely or not at all."""
        staged = {path: self.new_path(TMP) for path in files}
        self._write({staged[path]: source for path, source in files.items()})
        folders = {path.rpartition("/")[0] for path in files}
        for folder in folders:
            if folder:
                self._storage.make_folder(folder)
        for path, source in staged.items():
            self._storage.move(source, path)
        for folder in folders:
            self._storage.sync_folder(folder)

    def determine_outcome(self) -> None:
        """Determine the outcome of a failed change, if it was not known at the failure.

        Raises:
            OSError: if it cannot be determined now either.
        """
        if self.outcome not in (Outcome.UNKNOWN, Outcome.UNFINISHED):
            return
        if len(self._moves) == 1:
            self.outcome = Outcome.MADE if self._was_made(self._moves[0]) else Outcome.UNCHANGED
        elif self._storage.find_kind(JOURNAL) is None:
            # The journal is removed last, so either it was never written or all moves were undone.
            self.outcome = Outcome.UNCHANGED

    def _stage_change(self, change: FolderChange) -> list[Move]:
        """Stage the new content of one folder; return the moves that publish it."""
        name = change.name
        if change.old_name is not None:
            staged, aside = self.stage(change.files), self.new_path(TRASH)
            return plan_renaming(change.old_name, name, list(change.files), staged, aside)
        if not change.files:
            return [(name, self.new_path(TRASH))] if change.is_there else []
        staged = self.stage(change.files)
        return plan_replacement(name, staged, self.new_path(TRASH)) if change.is_there else [(staged, name)]

    def _write(self, files: Puts) -> None:
        """Write files, path -> source, and flush them to the disk."""
        contents: dict[str, bytes | Path] = {}
        for path, source in files.items():
            self._storage.make_folder(path.rpartition("/")[0])
            if isinstance(source, Stored):
                self._storage.copy_file(source.path, path)
            else:
                contents[path] = source
        self._storage.write_many(contents)

    def _write_journal(self, moves: Sequence[Move]) -> None:
        staged = self.new_path(TMP)
        self._storage.write(staged, dump_journal(Journal(self._owner, list(moves))))
        try:
            self._storage.move(staged, JOURNAL)
            self._storage.sync_folder(PRIVATE)
        except FAILURES:
            # Otherwise the next writer would make the moves that are reported as failed here.
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
        """Undo moves. If that fails, the journal stays and the change is finished later: nothing is lost."""
        is_single = len(self._moves) == 1
        self.outcome = Outcome.UNKNOWN if is_single else Outcome.UNFINISHED
        # A move that failed may still have been made, for example if a file server's answer was lost.
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


def drop_journal(storage: LocalFolder) -> None:
    """Remove the journal, and flush the removal: one that reappears after a power cut would be executed."""
    storage.remove(JOURNAL)
    storage.sync_folder(PRIVATE)
