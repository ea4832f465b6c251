"""The library: a mapping from names to experts, kept in a folder at a URL."""

import os
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager

from lorary.errors import LibraryError
from lorary.experts import Expert, build_expert, check_name, write_expert_files
from lorary.files import quote
from lorary.library import catalog
from lorary.library.artifacts import Artifacts
from lorary.library.change import Change, Outcome
from lorary.library.entry import Entry
from lorary.library.failure import EXPERTS_UNCHANGED, explain_failure
from lorary.library.journal import TRASH, Move, plan_renaming, plan_replacement
from lorary.library.lock import LOCK_TIMEOUT_S
from lorary.library.marker import make_library, require_library
from lorary.library.open_expert import open_expert
from lorary.library.open_storage import open_storage
from lorary.library.prune import Pruned, prune_artifacts
from lorary.library.publish import Publisher
from lorary.library.retitle import retitle
from lorary.library.verify import Problem, find_artifact_problems, find_problems, find_strange_names


class Library(MutableMapping[str, Expert]):
    """Experts by name, in a folder at a URL; each is a plain PEFT adapter folder with a sidecar.

    Every change happens entirely or not at all, also if the process is killed or the disk is full, and
    several processes may read and change a library at once (where the file system is local; elsewhere,
    several threads of one process). A PEFT adapter folder copied in by hand is an expert too.
    """

    def __init__(self, url: str | os.PathLike[str], *, lock_timeout: float = LOCK_TIMEOUT_S):
        """Open the library at a URL; ``Library.open`` can also make one.

        Args:
            url: a folder's path, or a URL such as ``memory://name``.
            lock_timeout: seconds to wait while other processes write.

        Raises:
            LibraryError: if there is no library, saying how to make one.
        """
        self._storage = open_storage(url)
        require_library(self._storage)
        self._publisher = Publisher(self._storage, lock_timeout)
        self._publisher.tidy()

    @classmethod
    def open(cls, url: str | os.PathLike[str], create: bool = False) -> "Library":
        """Open the library at a URL.

        Args:
            url: a folder's path, or a URL such as ``memory://name``.
            create: make a library if there is none. A folder of PEFT adapters becomes one as it is.

        Raises:
            LibraryError: if there is no library, or something else is in its place.
        """
        if create:
            storage = open_storage(url)
            make_library(storage, Publisher(storage))
        return cls(url)

    @classmethod
    def settle(cls, url: str | os.PathLike[str]) -> list[Move]:
        """Finish the change that somebody else left half done in a library, and clear away what was staged.

        A library finishes by itself what the same user's processes left on the same machine. What another
        machine, another user, or the library that this one was copied from left is refused until it is
        settled. Only experts' folders and what lies in ``.lorary`` is moved.

        Args:
            url: the library's folder or URL; nobody else may be writing to it.

        Returns:
            The moves of the change that was finished, within the library; none if there was no such change.

        Raises:
            LibraryError: if there is no library, or what was left is not a library's change.
        """
        storage = open_storage(url)
        require_library(storage)
        try:
            found = Publisher(storage).settle()
        except OSError as error:
            raise LibraryError(f"cannot settle library {quote(storage.url)}: {error}") from error
        return [] if found is None else found.moves

    @property
    def url(self) -> str:
        """Where the library is, as it was opened."""
        return self._storage.url

    def __repr__(self) -> str:
        return f"Library({self.url!r}, {len(self)} experts)"

    def __getitem__(self, name: str) -> Expert:
        """Read an expert; its weights are memory-mapped where the file system is local.

        Raises:
            UnknownExpert: if there is none of this name; the message has the nearest names.
            FormatError: if its files can't be read as an expert, or are not what was stored. For the weights
                that is found out, once, when a number of theirs is first asked for.
        """
        with self._reading():
            catalog.require_expert(self._storage, name)
            opened = open_expert(self._storage, name)
        # Not under the lock: understanding what others wrote may take as long as they like.
        return build_expert(opened, name)

    def __setitem__(self, name: str, expert: Expert) -> None:
        """Store an expert under a name, replacing any expert of that name.

        Raises:
            ValueError: if the name isn't safe as a folder's name.
            LibraryError: if it can't be written, saying what became of the library, which is as it was in
                nearly every case.
        """
        self._store(check_name(name), expert, replace=True)

    def __delitem__(self, name: str) -> None:
        """Delete an expert; tensors of it that are in use stay valid."""
        with self._changing(f"delete expert {quote(name)}") as change:
            catalog.require_expert(self._storage, name)
            change.publish([(name, change.new_path(TRASH))])

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

    def add(self, expert: Expert, name: str | None = None) -> None:
        """Store an expert under a name that is still free.

        Args:
            expert: the expert.
            name: the name to store it under; ``None`` takes its own.

        Raises:
            LibraryError: if the name is taken, also by another process in this moment; or if the expert
                can't be written, saying what became of the library, as it was in nearly every case.
        """
        self._store(check_name(expert.name if name is None else name), expert, replace=False)

    def rename(self, old: str, new: str) -> None:
        """Give an expert another name that is still free; its weights are not copied."""
        check_name(new)
        with self._changing(f"rename expert {quote(old)} to {new!r}") as change:
            catalog.require_expert(self._storage, old)
            catalog.require_free_name(self._storage, new, instead_of=old)
            changed = retitle(self._storage, old, new)
            staged, aside = change.stage(changed), change.new_path(TRASH)
            change.publish(plan_renaming(old, new, list(changed), staged, aside))

    def copy(self, old: str, new: str) -> None:
        """Store an expert once more, under a name that is still free."""
        check_name(new)
        with self._changing(f"copy expert {quote(old)} to {new!r}", self._count_bytes(old)) as change:
            catalog.require_expert(self._storage, old)
            catalog.require_free_name(self._storage, new)
            staged = change.stage_copy(old, retitle(self._storage, old, new))
            change.publish([(staged, new)])

    def entries(
        self, task: str | None = None, base: str | None = None, tag: str | None = None
    ) -> list[Entry]:
        """List the experts, sorted by name, without opening a weights file.

        Args:
            task: only experts trained on this task.
            base: only experts for this base model.
            tag: only experts with this tag.

        Raises:
            FormatError: if what is known about an expert can't be read; ``verify`` lists all such.
        """
        with self._reading():
            entries = catalog.list_entries(self._storage)
        return [entry for entry in entries if entry.matches(task, base, tag)]

    def weight_hashes(self) -> dict[str, str]:
        """Give the SHA-256 of every expert's weights file as noted when stored, which ``verify`` checks."""
        return self._hash_weights(list(self))

    def verify(self, names: Iterable[str] | None = None, *, rest: bool | None = None) -> list[Problem]:
        """Read experts entirely and list everything that is wrong with them; none if all is well.

        Args:
            names: the experts to look at, one after the other; ``None`` means all.
            rest: whether to look at all artifacts, too, and at what else lies in the library; ``None`` means
                so if no names are given.

        Raises:
            UnknownExpert: if there is none of a name.
        """
        found: list[Problem] = []
        for name in list(self) if names is None else names:
            with self._reading():
                if not catalog.is_link(self._storage, name):
                    catalog.require_expert(self._storage, name)
                found += find_problems(self._storage, name)
        if rest or (rest is None and names is None):
            with self._reading():
                found += find_strange_names(self._storage) + find_artifact_problems(self._storage)
        return found

    @property
    def artifacts(self) -> Artifacts:
        """What was computed from the experts: ``.load(key)``, ``.save(key, tensors)``, and as a call
        ``(algorithm, parameters, compute, names)`` all that is missing."""
        return Artifacts(self._storage, self._publisher, self, self._identify)

    def prune(self) -> Pruned:
        """Remove the artifacts of experts that are gone, alone or among others; they can be computed again.

        Raises:
            LibraryError: if the library can't be changed.
        """
        with self._changing("remove artifacts", outcome=EXPERTS_UNCHANGED):
            present = catalog.identify_experts(self._storage, catalog.list_experts(self._storage))
            return prune_artifacts(self._storage, set(present.values()))

    def _store(self, name: str, expert: Expert, replace: bool) -> None:
        if not isinstance(expert, Expert):
            raise TypeError(f"a library holds experts, got {type(expert).__name__} for {name!r}")
        files = write_expert_files(expert.rename(name))
        num_bytes = sum(map(len, files.values()))
        with self._changing(f"store expert {name!r}", num_bytes) as change:
            is_there = catalog.is_expert(self._storage, name)
            if not (replace and is_there):
                catalog.require_free_name(self._storage, name)
            staged = change.stage(files)
            if is_there:
                change.publish(plan_replacement(name, staged, change.new_path(TRASH)))
            else:
                change.publish([(staged, name)])

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

    def _count_bytes(self, name: str) -> int:
        with self._reading():
            catalog.require_expert(self._storage, name)
            return sum(self._storage.count_bytes(file) for file in self._storage.walk(name))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._publisher.reading():
                yield
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self.url)}: {error}") from error

    @contextmanager
    def _changing(self, what: str, num_bytes: int = 0, outcome: str | None = None) -> Iterator[Change]:
        change = None
        try:
            with self._publisher.writing() as change:
                yield change
        except OSError as error:
            # Only now: leaving the block may have finished what failed within it.
            told = outcome or (change.outcome if change else Outcome.UNCHANGED).value
            raise explain_failure(self._storage, error, what, told, num_bytes) from error
