"""Tensors computed from experts, kept in their library under the hash of what they were computed from.

An artifact's key is the hash of (its subjects, the algorithm, its parameters), so an artifact is never stale:
other weights or other parameters have another key. Renaming or copying an expert keeps its artifacts.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from lorary.errors import FormatError, LibraryError
from lorary.experts import Expert
from lorary.files import LIMITS, quote
from lorary.library.artifact_file import (
    LENGTH_BYTES,
    MOST_HEADER_BYTES,
    Artifact,
    canonical_json,
    pack_artifact,
    read_source,
    unpack_artifact,
)
from lorary.library.commits import commit_plan
from lorary.library.derive import Compute, IsSound, derive_artifacts
from lorary.library.failure import EXPERTS_UNCHANGED, WriteForbidden
from lorary.library.key import Key, hash_source, list_subjects
from lorary.library.storage.contract import Storage
from lorary.library.storage.places import PRIVATE

ARTIFACTS = f"{PRIVATE}/artifacts"


class Artifacts:
    """The artifacts of a library, by key; called, it computes those of each expert that are missing.

    Args:
        storage: the library's.
        experts: the library.
        identify: names of experts -> the hashes that tell their content as it is now.
    """

    def __init__(
        self,
        storage: Storage,
        experts: Mapping[str, Expert],
        identify: Callable[[Sequence[str]], dict[str, str]],
    ):
        self._storage = storage
        self._experts = experts
        self._identify = identify

    def __call__(
        self,
        algorithm: str,
        parameters: Mapping[str, Any],
        compute: Compute,
        names: Iterable[str] | None = None,
        is_sound: IsSound = lambda name, artifact: True,
    ) -> dict[str, Artifact]:
        """Return tensors derived from each expert, computing only those that are not stored yet.

        Args:
            algorithm: a name for what ``compute`` does, such as ``"arrow-prototypes-1"``.
            parameters: all that the result depends on besides the expert; what JSON can hold.
            compute: some experts -> for each of them, named tensors. It sees only experts that miss theirs,
                a batch at a time, and must not look at anything but them.
            names: the experts to return artifacts of; ``None`` means all.
            is_sound: looks at what was stored, with the expert's name; what it does not accept is computed
                again.

        Returns:
            Expert name -> tensor name -> tensor, sorted by expert or in the order of ``names``.

        Raises:
            UnknownExpert: if there is none of a name.
            LibraryError: if the results can't be written, or an expert is replaced meanwhile.
        """

        def make_keys(some: Sequence[str]) -> dict[str, Key]:
            return self.make_keys(algorithm, dict.fromkeys(some, parameters))

        wanted = list(self._experts) if names is None else list(names)
        return derive_artifacts(self, self._experts, wanted, make_keys, compute, is_sound)

    def make_key(self, algorithm: str, parameters: Mapping[str, Any], names: Sequence[str]) -> Key:
        """Return the key of what is computed from several experts together, as they are now.

        Make it before computing: what is saved under it belongs to these weights, whatever is stored under
        the names meanwhile.

        Raises:
            UnknownExpert: if there is none of a name.
            ValueError: if there are no names.
        """
        hashes = self._identify(names)
        return Key(algorithm, parameters, tuple(hashes[name] for name in names))

    def make_keys(self, algorithm: str, parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Key]:
        """Return the key of what is computed from each of some experts alone, as they are now.

        Args:
            algorithm: what computes it.
            parameters: expert -> all else that its artifact depends on.

        Raises:
            UnknownExpert: if there is none of a name.
        """
        hashes = self._identify(list(parameters))
        return {name: Key(algorithm, own, (hashes[name],)) for name, own in parameters.items()}

    def load(self, key: Key) -> Artifact | None:
        """Return an artifact; ``None`` if it is missing, damaged, or computed from something else.

        Raises:
            LibraryError: if it can't be read for another reason.
        """
        try:
            return open_artifact(_read(self._storage, _make_path(key)), key)
        # What is damaged can be computed again.
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FormatError):
            return None
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self._storage.url)}: {error}") from error

    def save(self, key: Key, tensors: Mapping[str, Tensor]) -> None:
        """Store an artifact, replacing a damaged one; see ``save_all``."""
        self.save_all({key: tensors})

    def save_all(self, artifacts: Mapping[Key, Mapping[str, Tensor]]) -> None:
        """Store artifacts, replacing damaged ones.

        Where nobody may write, nothing is stored: then they are computed each time.

        Raises:
            LibraryError: if they can't be written for another reason, such as a full disk.
        """
        packed = {_make_path(key): pack_artifact(tensors, key.source) for key, tensors in artifacts.items()}
        kinds = ", ".join(sorted({key.algorithm for key in artifacts}))
        what = f"store {quote(kinds)} of {len(packed)} experts"
        num_bytes = sum(map(len, packed.values()))
        with suppress(WriteForbidden):
            commit_plan(
                self._storage, what, lambda: (packed, ()), num_bytes=num_bytes, outcome=EXPERTS_UNCHANGED
            )


def open_artifact(content: bytes, key: Key) -> Artifact:
    """Read the file of an artifact.

    Raises:
        FormatError: if it is damaged, or was computed from something else than its key says.
    """
    artifact, source = unpack_artifact(content)
    if canonical_json(source) != canonical_json(key.source):
        raise FormatError("was computed from something else")
    return artifact


def read_subjects(storage: Storage, path: str) -> tuple[str, ...]:
    """Return the hashes of what an artifact says it was computed from, reading its header alone; none if it
    says nothing."""
    try:
        length = int.from_bytes(storage.read(path, end=LENGTH_BYTES), "little")
        content = storage.read(path, end=LENGTH_BYTES + min(length, MOST_HEADER_BYTES))
        return list_subjects(read_source(content))
    except FormatError:
        return ()


def find_artifact_fault(storage: Storage, path: str) -> str | None:
    """Read an artifact entirely and say what is wrong with it.

    Args:
        storage: the library's.
        path: the artifact's, in ``ARTIFACTS``.
    """
    try:
        _, source = unpack_artifact(_read(storage, path))
    except (FormatError, OSError) as error:
        return str(error)
    if path != f"{ARTIFACTS}/{source.get('algorithm')}/{hash_source(source)}.safetensors":
        return "lies where an artifact of another source belongs"
    return None


def _make_path(key: Key) -> str:
    return f"{ARTIFACTS}/{key.algorithm}/{key.digest}.safetensors"


def _read(storage: Storage, path: str) -> bytes:
    most = LIMITS["artifact_mb"].num_bytes
    content = storage.read(path, end=most + 1)
    if len(content) > most:
        raise FormatError(f"is too large: {LIMITS['artifact_mb'].advice}")
    return content
