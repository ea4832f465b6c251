"""The library: a mapping from names to experts, stored in a folder at a URL."""

import os
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from lorary.errors import LibraryError
from lorary.experts import Expert, check_name
from lorary.experts.peft_reader import build_expert
from lorary.files import quote, say_count
from lorary.library import catalog
from lorary.library.artifacts import Artifacts
from lorary.library.changes import ChangedLibrary
from lorary.library.entry import Entry
from lorary.library.marker import make_library, require_library
from lorary.library.notebook import draw_entries
from lorary.library.open_expert import open_expert
from lorary.library.standing import find_by_hash, find_missing_general
from lorary.library.storage.lock import LOCK_TIMEOUT_S
from lorary.library.storage.opening import open_storage
from lorary.library.storing import store_experts
from lorary.library.tuned import read_tuned
from lorary.library.verify import Problem, find_artifact_problems, find_problems, find_strange_names
from lorary.library.view import LibraryView, choose_routed


class Library(ChangedLibrary, MutableMapping[str, Expert]):
    """Experts by name, in a folder at a URL. Each is a plain PEFT adapter folder with an ``expert.json``.

    A change is made completely or not at all, even if the process is killed or the disk is full. On a local
    disk several processes may read and change a library at the same time; on other file systems one process
    may, with several threads. A PEFT adapter folder that was copied in by hand is an expert too.
    """

    def __init__(self, url: str | os.PathLike[str], *, lock_timeout: float = LOCK_TIMEOUT_S):
        """Open the library at a URL; ``Library.open`` can also make one.

        Args:
            url: a folder's path, or a URL such as ``memory://name``.
            lock_timeout: seconds to wait while other processes write.

        Raises:
            LibraryError: if there is no library; the message explains how to make one.
        """
        self._storage = open_storage(url, lock_timeout)
        require_library(self._storage)
        self._storage.tidy()

    @classmethod
    def open(cls, url: str | os.PathLike[str], create: bool = False) -> "Library":
        """Open the library at a URL.

        Args:
            url: a folder's path, or a URL such as ``memory://name``.
            create: make a library if there is none. A folder of PEFT adapters becomes a library without other
                changes.

        Raises:
            LibraryError: if there is no library, or something else is at that place.
        """
        if create:
            make_library(open_storage(url))
        return cls(url)

    @classmethod
    def settle(cls, url: str | os.PathLike[str]) -> list[tuple[str, str]]:
        """Finish a change that another machine or user left unfinished, and remove staged files.

        An unfinished change of the same user on the same machine is finished automatically. One of another
        machine, of another user, or of the library that this one was copied from is refused until this method
        is called. It moves only experts' folders and files below ``.lorary``.

        Args:
            url: the library's folder or URL. No other process may be writing to it.

        Returns:
            Source and target of each move or copy within the library; empty if no change was unfinished.

        Raises:
            LibraryError: if there is no library, or its journal is not one that a library writes.
        """
        storage = open_storage(url)
        require_library(storage)
        try:
            return storage.settle()
        except OSError as error:
            raise LibraryError(f"cannot settle library {quote(storage.url)}: {error}") from error

    @property
    def url(self) -> str:
        """The URL or path that the library was opened by."""
        return self._storage.url

    def __repr__(self) -> str:
        return f"Library({self.url!r}, {say_count(len(self), 'expert')})"

    def _repr_html_(self) -> str:
        return draw_entries(f"library {self.url}, {say_count(len(self), 'expert')}", self.entries())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __getitem__(self, name: str) -> Expert:
        """Read an expert; its weights are memory-mapped where the file system is local.

        Raises:
            UnknownExpert: if there is no expert of this name; the message has the nearest names.
            FormatError: if its files are invalid, or differ from the stored ones. The weights are checked
                once, when their values are first read.
        """
        with self._reading():
            catalog.require_expert(self._storage, name)
            opened = open_expert(self._storage, name)
        # Outside of the lock, since files from elsewhere may take long to parse.
        return build_expert(opened, name)

    def __setitem__(self, name: str, expert: Expert) -> None:
        """Store an expert under a name, replacing any expert of that name.

        Raises:
            ValueError: if the name is not safe as a folder's name.
            LibraryError: if others build on the replaced expert, or it cannot be written; the message states
                whether the library is unchanged, as in nearly all cases.
        """
        store_experts(self._storage, {check_name(name): expert}, replace=True)

    def __delitem__(self, name: str) -> None:
        """Delete an expert; its tensors that are in use stay valid.

        Raises:
            UnknownExpert: if there is no expert of this name.
            LibraryError: if other experts build on it.
        """
        self.remove_all([name])

    def __contains__(self, name: object) -> bool:
        with self._reading():
            return catalog.is_expert(self._storage, name)

    def __iter__(self) -> Iterator[str]:
        with self._reading():
            names = catalog.list_experts(self._storage)
        return iter(names)

    def __len__(self) -> int:
        with self._reading():
            return len(catalog.list_experts(self._storage))

    def find_general(self, on_top_of: str) -> str | None:
        """Find the general expert that experts build on; it may have any name.

        Args:
            on_top_of: the hash of its weights, from the card of an expert that builds on it.

        Returns:
            Its name; None if the library lacks it.
        """
        with self._reading():
            return find_by_hash(self._storage, on_top_of, self.__getitem__)

    def entries(
        self,
        task: str | None = None,
        base: str | None = None,
        tag: str | None = None,
        role: str | None = None,
    ) -> list[Entry]:
        """List the experts, sorted by name, without opening a weights file.

        Args:
            task: only experts trained on this task.
            base: only experts for this base model, by its name, see ``compare_bases``.
            tag: only experts with this tag.
            role: only experts with this role.

        Raises:
            FormatError: if an expert's small files are invalid; ``verify`` lists all such experts.
        """
        with self._reading():
            entries = catalog.list_entries(self._storage)
        return [entry for entry in entries if entry.matches(task, base, tag, role)]

    def routed(self, include: str | Iterable[str] = ()) -> LibraryView:
        """Return the experts that are used if none are named: those that routers choose among.

        They are those with the role ``"expert"`` in their cards. ``load_model``, merging, clustering and the
        commands use them. Any other expert is used only by its name, such as a merge or a control.

        Args:
            include: further roles of which experts are used, see ``lorary.experts.roles.ROLES``, or
                ``"all"``.

        Raises:
            ValueError: if there is no such role.
            FormatError: if an expert's small files are invalid.
        """
        return choose_routed(self, include)

    def weight_hashes(self) -> dict[str, str]:
        """Return the stored SHA-256 of every expert's weights file, which ``verify`` checks."""
        return self._hash_weights(list(self))

    def verify(self, names: Iterable[str] | None = None, *, rest: bool | None = None) -> list[Problem]:
        """Read experts completely and list all faults.

        Args:
            names: the experts; ``None`` for all.
            rest: whether to check all artifacts and other files in the library, too; ``None``: if no names
                are given.

        Returns:
            The faults; empty if there are none.

        Raises:
            UnknownExpert: if there is no expert of a name.
        """
        found: list[Problem] = []
        for name in list(self) if names is None else names:
            with self._reading():
                if not catalog.is_link(self._storage, name):
                    catalog.require_expert(self._storage, name)
                own = find_problems(self._storage, name)
                found += own or find_missing_general(self._storage, name, self.__getitem__)
        if rest or (rest is None and names is None):
            with self._reading():
                found += find_strange_names(self._storage) + find_artifact_problems(self._storage)
        return found

    @property
    def artifacts(self) -> Artifacts:
        """The artifacts of the experts: ``.load(key)``, ``.save(key, tensors)``, and the call
        ``artifacts(algorithm, parameters, compute, names)``, which computes missing ones."""
        return Artifacts(self._storage, self, self._identify)

    def tuned(self, router: str) -> dict[str, Any]:
        """Return the options that `lorary calibrate` tuned for a router; empty if there are none.

        Raises:
            LibraryError: if they cannot be read.
        """
        with self._reading():
            return read_tuned(self._storage, router)

    def _identify(self, names: Sequence[str]) -> dict[str, str]:
        with self._reading():
            for name in names:
                catalog.require_expert(self._storage, name)
            return catalog.identify_experts(self._storage, names)

    def _hash_weights(self, names: Sequence[str]) -> dict[str, str]:
        with self._reading():
            for name in names:
                catalog.require_expert(self._storage, name)
            return catalog.hash_weights(self._storage, names)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._storage.reading():
                yield
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self.url)}: {error}") from error
