"""One commit on a file system without moves: staged, written down by exclusive create, then copied."""

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
        folder: the library's.
        owner: whose change it is, see ``identify_owner``.
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
        """Give every file of the folders that are put, and on top of them the files."""
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
        """Put what is not stored yet where nobody sees it; return what each file becomes a copy of."""
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
            # From here on the change will happen.
            self._folder.create(JOURNAL, dump_journal(journal))
        except FileExistsError as error:
            raise RevisionMoved(
                f"library {quote(self._folder.url)} is being changed by somebody else"
            ) from error
        except OSError:
            # The file may be there nevertheless, such as on a server whose answer was lost.
            self.outcome = Outcome.UNKNOWN
            self._folder.remove(JOURNAL)
            self.outcome = Outcome.UNCHANGED
            raise
        self.outcome = Outcome.UNFINISHED
        make_copies(self._folder, journal)
        self.outcome = Outcome.MADE


def make_copies(folder: RemoteFolder, journal: RemoteJournal) -> None:
    """Do what a journal says, perhaps once more, and drop it.

    Raises:
        LibraryError: if a file is gone that is to be copied, and was not.
    """
    for target, source in journal.copies.items():
        try:
            folder.copy_file(source, target)
        except FileNotFoundError as error:
            # Sources are removed only after all copies were made, so this one was made before.
            if folder.find_kind(target) is None:
                raise LibraryError(
                    f"library {quote(folder.url)} holds an unfinished change, and {quote(source)}, which it "
                    f"needs, is gone: bring it back, or delete {JOURNAL} once all experts are there"
                ) from error
    for path in journal.deletes:
        folder.remove(path)
    for name in {path.partition("/")[0] for path in journal.deletes}:
        # Some file systems keep a folder that nothing is in.
        if not folder.walk(name):
            folder.remove(name)
    folder.remove(JOURNAL)
