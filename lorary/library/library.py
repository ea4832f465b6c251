"""The library: a mapping from names to experts, kept in a folder at a URL."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager

from torch import Tensor

from lorary.errors import LibraryError
from lorary.experts import Expert, check_name, read_expert_folder, write_expert_files
from lorary.experts.folder import CARD_FILE
from lorary.experts.sidecar import SIDECAR_FILE
from lorary.files import parse_json_object
from lorary.library import catalog
from lorary.library.artifacts import ArtifactStore
from lorary.library.derive import Compute, IsSound, derive_artifacts
from lorary.library.entry import ADVICE, Entry
from lorary.library.failure import explain_failure
from lorary.library.lock import LOCK_TIMEOUT_S
from lorary.library.marker import make_library, require_library
from lorary.library.prune import Pruned, prune_artifacts
from lorary.library.publish import TRASH, Move, Publisher
from lorary.library.storage import Storage
from lorary.library.verify import Problem, find_problems


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
        self._storage = Storage(url)
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
            storage = Storage(url)
            make_library(storage, Publisher(storage))
        return cls(url)

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
            FormatError: if its files can't be read as an expert.
        """
        with self._reading():
            catalog.require_expert(self._storage, name)
            return read_expert_folder(self._storage.fs, self._storage.path(name), name)

    def __setitem__(self, name: str, expert: Expert) -> None:
        """Store an expert under a name, replacing any expert of that name.

        Raises:
            ValueError: if the name isn't safe as a folder's name.
            LibraryError: if it can't be written; the library is as it was.
        """
        self._store(check_name(name), expert, replace=True)

    def __delitem__(self, name: str) -> None:
        """Delete an expert; tensors of it that are in use stay valid."""
        with self._changing(f"delete expert {name!r}"):
            catalog.require_expert(self._storage, name)
            self._publisher.publish([(name, self._publisher.new_path(TRASH))])

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
                can't be written. The library is as it was.
        """
        self._store(check_name(expert.name if name is None else name), expert, replace=False)

    def rename(self, old: str, new: str) -> None:
        """Give an expert another name that is still free; its weights are not copied."""
        check_name(new)
        with self._changing(f"rename expert {old!r} to {new!r}"):
            catalog.require_expert(self._storage, old)
            catalog.require_free_name(self._storage, new)
            changed = self._retitle(old, new)
            staged = self._publisher.stage(changed)
            aside = self._publisher.new_path(TRASH)
            moves: list[Move] = [(old, aside)]
            for number, file in enumerate(changed):
                moves += [(f"{aside}/{file}", f"{aside}.{number}"), (f"{staged}/{file}", f"{aside}/{file}")]
            self._publisher.publish([*moves, (aside, new)])

    def copy(self, old: str, new: str) -> None:
        """Store an expert once more, under a name that is still free."""
        check_name(new)
        with self._changing(f"copy expert {old!r} to {new!r}", self._count_bytes(old)):
            catalog.require_expert(self._storage, old)
            catalog.require_free_name(self._storage, new)
            staged = self._publisher.stage_copy(old, self._retitle(old, new))
            self._publisher.publish([(staged, new)])

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

    def verify(self, names: Iterable[str] | None = None) -> list[Problem]:
        """Read experts entirely and list everything that is wrong with them; none if all is well.

        Args:
            names: the experts to look at; ``None`` means all.

        Raises:
            UnknownExpert: if there is none of a name.
        """
        found: list[Problem] = []
        for name in list(self) if names is None else names:
            with self._reading():
                catalog.require_expert(self._storage, name)
                found += find_problems(self._storage, name)
        return found

    def artifacts(
        self,
        algorithm: str,
        parameters: Mapping[str, object],
        compute: Compute,
        names: Iterable[str] | None = None,
        is_sound: IsSound = lambda name, artifact: True,
    ) -> dict[str, dict[str, Tensor]]:
        """Return tensors derived from each expert, computing only those that are not stored yet.

        They are stored under the hash of (the expert's weights, algorithm, parameters): never stale, and
        computed again only for what changed.

        Args:
            algorithm: a name for what ``compute`` does, such as ``"arrow-prototypes-1"``.
            parameters: all that the result depends on besides the weights; what JSON can hold.
            compute: some experts -> for each of them, named tensors. It sees only experts that miss theirs,
                a batch at a time, and must not look at anything but them.
            names: the experts to return artifacts of; ``None`` means all.
            is_sound: looks at what was stored, with the expert's name; what it does not accept is computed
                again.

        Returns:
            Expert name -> tensor name -> tensor, sorted by expert or in the order of ``names``.

        Raises:
            UnknownExpert: if there is none of a name.
            LibraryError: if the results can't be written.
        """
        store = ArtifactStore(self._storage, self._publisher, algorithm, parameters)
        wanted = list(self) if names is None else list(names)
        return derive_artifacts(store, self, wanted, self._hash_weights, compute, is_sound)

    def prune(self) -> Pruned:
        """Remove the artifacts of experts that are gone; they can be computed again.

        Raises:
            LibraryError: if the library can't be changed.
        """
        with self._changing("remove artifacts"):
            weights = catalog.hash_weights(self._storage, catalog.list_experts(self._storage))
            return prune_artifacts(self._storage, set(weights.values()))

    def _store(self, name: str, expert: Expert, replace: bool) -> None:
        if not isinstance(expert, Expert):
            raise TypeError(f"a library holds experts, got {type(expert).__name__} for {name!r}")
        files = write_expert_files(expert.rename(name))
        num_bytes = sum(map(len, files.values()))
        with self._changing(f"store expert {name!r}", num_bytes):
            if not replace:
                catalog.require_free_name(self._storage, name)
            catalog.require_no_stranger(self._storage, name)
            staged = self._publisher.stage(files)
            away = [(name, self._publisher.new_path(TRASH))] if self._storage.exists(name) else []
            self._publisher.publish([*away, (staged, name)])

    def _retitle(self, old: str, new: str) -> dict[str, bytes]:
        """Return the files of an expert that hold its name, with the new one."""
        changed = {}
        path = f"{old}/{SIDECAR_FILE}"
        if self._storage.exists(path):
            sidecar = parse_json_object(self._storage.read(path), self._storage.path(path), ADVICE)
            changed[SIDECAR_FILE] = json.dumps(
                {**sidecar, "name": new}, indent=2, ensure_ascii=False
            ).encode()
        path = f"{old}/{CARD_FILE}"
        if self._storage.exists(path):
            title, retitled = f"\n# {old}\n".encode(), f"\n# {new}\n".encode()
            changed[CARD_FILE] = self._storage.read(path).replace(title, retitled, 1)
        return changed

    def _hash_weights(self, names: Sequence[str]) -> dict[str, str]:
        with self._reading():
            for name in names:
                catalog.require_expert(self._storage, name)
            return catalog.hash_weights(self._storage, names)

    def _count_bytes(self, name: str) -> int:
        with self._reading():
            catalog.require_expert(self._storage, name)
            return sum(self._storage.count_bytes(file) for file in self._storage.list_files(name))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._publisher.reading():
                yield
        except OSError as error:
            raise LibraryError(f"cannot read library {self.url!r}: {error}") from error

    @contextmanager
    def _changing(self, what: str, num_bytes: int = 0) -> Iterator[None]:
        try:
            with self._publisher.writing():
                yield
        except OSError as error:
            raise explain_failure(self._storage, error, what, num_bytes) from error
