"""One commit on a file system without moves: staged, recorded in a journal, then copied."""

import errno
import os
import uuid
from collections.abc import Collection
from pathlib import Path

from lorary.errors import LibraryError
from lorary.files import quote
from lorary.library.storage.contract import Outcome, Puts, Revision, RevisionMoved, Source, Stored
from lorary.library.storage.places import JOURNAL, TMP, is_part_of_expert
from lorary.library.storage.remote.folder import RemoteFolder
from lorary.library.storage.remote.journal import RemoteJournal, dump_journal


class RemoteChange:
    """See ``Change``.

    Args:
        folder: the library's folder.
        owner: identifies the writer, see ``identify_owner``.
    """

    def __init__(self, folder: RemoteFolder, owner: str):
        self.outcome = Outcome.UNCHANGED
        self._folder = folder
        self._owner = owner

    def commit(self, puts: Puts, deletes: Collection[str] = ()) -> Revision:
        """Remove paths, then put others; see ``Change``."""
        files = self._list_files(puts)
        removed = [path for deleted in deletes for path in self._folder.walk(deleted) if path not in files]
        own = {path: source for path, source in files.items() if is_part_of_expert(path)}
        if own or any(map(is_part_of_expert, removed)):
            copies = self._stage(own)
            self._publish(RemoteJournal(self._owner, copies, list(filter(is_part_of_expert, removed))))
        self._put({path: source for path, source in files.items() if path not in own})
        for path in removed:
            if not is_part_of_expert(path):
                self._folder.remove(path)
        return uuid.uuid4().hex

    def _list_files(self, puts: Puts) -> dict[str, Source]:
        """Return all files that a commit puts: those of folders, replaced by files put explicitly."""
        found: dict[str, Source] = {}
        folders = set()
        for path, source in puts.items():
            if not isinstance(source, Stored):
                continue
            kind = self._folder.find_kind(source.path)
            if kind is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source.path)
            if kind == "folder":
                folders.add(path)
                inner = self._folder.walk(source.path)
                found |= {path + file[len(source.path) :]: Stored(file) for file in inner}
        return {**found, **{path: source for path, source in puts.items() if path not in folders}}

    def _stage(self, files: Puts) -> dict[str, str]:
        """Stage files that are not stored yet; return for each file the path that it will be copied from."""
        copies = {
            path: source.path
            if isinstance(source, Stored) and source.path not in files
            else f"{TMP}/{self._owner}{uuid.uuid4().hex[len(self._owner) :]}"
            for path, source in files.items()
        }
        self._put({copies[path]: source for path, source in files.items() if copies[path].startswith(TMP)})
        return copies

    def _put(self, files: Puts) -> None:
        contents: dict[str, bytes | Path] = {}
        for path, source in files.items():
            if isinstance(source, Stored):
                self._folder.copy_file(source.path, path)
            else:
                contents[path] = source
        self._folder.write_many(contents)

    def _publish(self, journal: RemoteJournal) -> None:
        try:
            # Once the journal exists, the change will be made, by this process or a later one.
            self._folder.create(JOURNAL, dump_journal(journal))
        except FileExistsError as error:
            raise RevisionMoved(
                f"library {quote(self._folder.url)} is being changed by another process"
            ) from error
        except OSError:
            # The file may exist all the same, for example if the server's answer was lost.
            self.outcome = Outcome.UNKNOWN
            self._folder.remove(JOURNAL)
            self.outcome = Outcome.UNCHANGED
            raise
        self.outcome = Outcome.UNFINISHED
        make_copies(self._folder, journal)
        self.outcome = Outcome.MADE


def make_copies(folder: RemoteFolder, journal: RemoteJournal) -> None:
    """Make the copies and removals of a journal, and remove it. It may be executed several times.

    Raises:
        LibraryError: if a source is missing that was not copied yet.
    """
    for target, source in journal.copies.items():
        try:
            folder.copy_file(source, target)
        except FileNotFoundError as error:
            # Sources are removed only after all copies are made; so if the target exists, this copy was made.
            if folder.find_kind(target) is None:
                raise LibraryError(
                    f"library {quote(folder.url)} has an unfinished change whose file {quote(source)} is "
                    f"missing: restore it, or delete {JOURNAL} after checking that all experts exist"
                ) from error
    for path in journal.deletes:
        folder.remove(path)
    for name in {path.partition("/")[0] for path in journal.deletes}:
        # Some file systems keep empty folders.
        if not folder.walk(name):
            folder.remove(name)
    folder.remove(JOURNAL)
