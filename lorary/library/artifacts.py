"""Artifacts: tensors computed from experts and stored in their library.

An artifact is stored under the hash of its subjects, algorithm and parameters. So it is never out of date:
other weights or other parameters have another key. Renamed and copied experts keep their artifacts.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor

from lorary.errors import FormatError, LibraryError
from lorary.experts import Expert
from lorary.files import LIMITS, quote, say_count
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
TRAINED = ("moe-router-1", "phatgoose-gates-1", "task-table-1")
"""Algorithms of artifacts that only a training makes: they cannot be computed from the experts again."""


class Artifacts:
    """The artifacts of a library, by key. A call returns each expert's artifact, and computes missing ones.

    Args:
        storage: the library's storage.
        experts: the library.
        identify: function from names of experts to the hashes of their current content.
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
        """Return an artifact of each expert; missing ones are computed and stored.

        Args:
            algorithm: a name of what ``compute`` does, such as ``"arrow-prototypes-1"``.
            parameters: everything that the result depends on besides the expert, as JSON values.
            compute: function from some experts to named tensors of each. It is called with experts without a
                stored artifact, one batch at a time, and must use nothing but these experts.
            names: the experts; ``None`` for all.
            is_sound: function of an expert's name and its stored artifact; if it returns False, the artifact
                is computed again.

        Returns:
            Expert name -> tensor name -> tensor, sorted by expert or in the order of ``names``.

        Raises:
            UnknownExpert: if there is no expert of a name.
            LibraryError: if the results cannot be written, or an expert is replaced in the meantime.
        """

        def make_keys(some: Sequence[str]) -> dict[str, Key]:
            return self.make_keys(algorithm, dict.fromkeys(some, parameters))

        wanted = list(self._experts) if names is None else list(names)
        return derive_artifacts(self, self._experts, wanted, make_keys, compute, is_sound)

    def make_key(self, algorithm: str, parameters: Mapping[str, Any], names: Sequence[str]) -> Key:
        """Return the key of an artifact of several experts together, with their current content.

        Call it before the artifact is computed: an expert may be replaced during the computation, but the key
        keeps the hashes of the weights that were read.

        Args:
            algorithm: a name of what computes the artifact.
            parameters: everything that it depends on besides the experts, as JSON values.
            names: the experts, in an order that matters.

        Raises:
            UnknownExpert: if there is no expert of a name.
            ValueError: if there are no names.
        """
        hashes = self._identify(names)
        return Key(algorithm, parameters, tuple(hashes[name] for name in names))

    def make_keys(self, algorithm: str, parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Key]:
        """Return the key of an artifact of each expert, with its current content.

        Args:
            algorithm: a name of what computes the artifacts.
            parameters: expert -> everything else that its artifact depends on.

        Raises:
            UnknownExpert: if there is no expert of a name.
        """
        hashes = self._identify(list(parameters))
        return {name: Key(algorithm, own, (hashes[name],)) for name, own in parameters.items()}

    def list_together(self, algorithm: str) -> dict[Key, tuple[str, ...]]:
        """List the artifacts of several experts together that are for experts of this library.

        Args:
            algorithm: name of what computed them.

        Returns:
            Key -> the current names of its experts, in their order. Of copies (experts of the same content)
            the first by name is the first of them in this order, and so on; each is used once.

        Raises:
            LibraryError: if they cannot be read.
        """
        names_of: dict[str, list[str]] = {}
        for name, content in self._identify(sorted(self._experts)).items():
            names_of.setdefault(content, []).append(name)
        found = {}
        try:
            for path, kind in self._storage.walk(f"{ARTIFACTS}/{algorithm}").items():
                source = _read_header(self._storage, path) if kind == "file" else {}
                subjects = list_subjects(source)
                if not subjects or any(
                    count > len(names_of.get(subject, ())) for subject, count in Counter(subjects).items()
                ):
                    continue
                parameters = source.get("parameters")
                if source.get("algorithm") == algorithm and isinstance(parameters, dict):
                    key = Key(algorithm, parameters, subjects)
                    left = {subject: iter(names_of[subject]) for subject in subjects}
                    found[key] = tuple(next(left[subject]) for subject in subjects)
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self._storage.url)}: {error}") from error
        return found

    def load(self, key: Key) -> Artifact | None:
        """Return an artifact; ``None`` if it is missing, damaged, or has another source.

        Raises:
            LibraryError: if it cannot be read for another reason.
        """
        try:
            return open_artifact(_read(self._storage, make_path(key)), key)
        # A damaged artifact counts as missing, since it can be computed again.
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FormatError):
            return None
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self._storage.url)}: {error}") from error

    def save(self, key: Key, tensors: Mapping[str, Tensor], instead_of: Collection[Key] = ()) -> None:
        """Store an artifact, replacing a damaged one, and remove others; see ``save_all``."""
        self.save_all({key: tensors}, instead_of)

    def save_all(
        self, artifacts: Mapping[Key, Mapping[str, Tensor]], instead_of: Collection[Key] = ()
    ) -> None:
        """Store artifacts, replacing damaged ones, and remove those of the keys ``instead_of``.

        If the user may not write to the library, nothing is stored; artifacts are then computed each time.

        Raises:
            LibraryError: if they cannot be written for another reason, such as a full disk.
        """
        packed = {make_path(key): pack_artifact(tensors, key.source) for key, tensors in artifacts.items()}
        kinds = ", ".join(sorted({key.algorithm for key in artifacts}))
        what = f"store {quote(kinds)} of {say_count(len(packed), 'expert')}"
        num_bytes = sum(map(len, packed.values()))
        removed = {make_path(key) for key in instead_of} - packed.keys()
        with suppress(WriteForbidden):
            commit_plan(
                self._storage, what, lambda: (packed, removed), num_bytes=num_bytes, outcome=EXPERTS_UNCHANGED
            )


def open_artifact(content: bytes, key: Key) -> Artifact:
    """Read an artifact from the bytes of its file, and check that its source is that of the key.

    Raises:
        FormatError: if the file is damaged or has another source.
    """
    artifact, source = unpack_artifact(content)
    if canonical_json(source) != canonical_json(key.source):
        raise FormatError("has another source than its key")
    return artifact


def list_needed(storage: Storage, path: str) -> tuple[str, ...]:
    """Return the hashes of the experts without which an artifact is useless, reading its header only.

    They are its subjects, and the general expert that was active when it was computed; none without a source.
    """
    source = _read_header(storage, path)
    parameters = source.get("parameters")
    general = parameters.get("general") if isinstance(parameters, dict) else None
    return (*list_subjects(source), *([general] if isinstance(general, str) else []))


def _read_header(storage: Storage, path: str) -> dict[str, Any]:
    """Return an artifact's source, reading its header only; empty if it has none."""
    try:
        length = int.from_bytes(storage.read(path, end=LENGTH_BYTES), "little")
        content = storage.read(path, end=LENGTH_BYTES + min(length, MOST_HEADER_BYTES))
        return read_source(content)
    except FormatError:
        return {}


def find_artifact_fault(storage: Storage, path: str) -> str | None:
    """Read an artifact completely and describe its fault; None if it has none.

    Args:
        storage: the library's storage.
        path: the artifact's path, below ``ARTIFACTS``.
    """
    try:
        _, source = unpack_artifact(_read(storage, path))
    except (FormatError, OSError) as error:
        return str(error)
    if path != f"{ARTIFACTS}/{source.get('algorithm')}/{hash_source(source)}.safetensors":
        return "is at the place of an artifact with another source"
    return None


def make_path(key: Key) -> str:
    """Return the place of an artifact in its library."""
    return f"{ARTIFACTS}/{key.algorithm}/{key.digest}.safetensors"


def _read(storage: Storage, path: str) -> bytes:
    most = LIMITS["artifact_mb"].num_bytes
    content = storage.read(path, end=most + 1)
    if len(content) > most:
        raise FormatError(f"is too large: {LIMITS['artifact_mb'].advice}")
    return content
