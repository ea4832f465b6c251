"""Tensors computed from one expert's weights, kept under the hash of what they were computed from.

An artifact's key is the hash of (the weights' hash, the algorithm, its parameters), so an artifact is never
stale: other weights or other parameters have another key. Renaming or copying an expert keeps its artifacts.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lorary.errors import FormatError, LibraryError
from lorary.experts import check_name
from lorary.files import find_limit, parse_json_object, quote, say_limit
from lorary.library.artifact_file import (
    LENGTH_BYTES,
    MOST_HEADER_BYTES,
    Artifact,
    canonical_json,
    pack_artifact,
    read_source,
    unpack_artifact,
)
from lorary.library.failure import EXPERTS_UNCHANGED, NOT_ALLOWED, explain_failure
from lorary.library.journal import PRIVATE
from lorary.library.publish import Publisher
from lorary.library.storage import Storage

ARTIFACTS = f"{PRIVATE}/artifacts"


class ArtifactStore:
    """The artifacts of one algorithm with one set of parameters, by the hash of the weights."""

    def __init__(
        self, storage: Storage, publisher: Publisher, algorithm: str, parameters: Mapping[str, object]
    ):
        self._storage = storage
        self._publisher = publisher
        self._algorithm = check_name(algorithm)
        self._parameters = parse_json_object(canonical_json(parameters).encode(), "parameters")

    def load(self, weights_sha256: str) -> Artifact | None:
        """Return an artifact; ``None`` if it is missing, damaged, or computed from something else.

        Raises:
            LibraryError: if it can't be read for another reason.
        """
        try:
            artifact, source = unpack_artifact(_read(self._storage, self._path(weights_sha256)))
        # What is damaged can be computed again.
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, FormatError):
            return None
        except OSError as error:
            raise LibraryError(f"cannot read library {quote(self._storage.url)}: {error}") from error
        wanted = _name_source(weights_sha256, self._algorithm, self._parameters)
        return artifact if canonical_json(source) == canonical_json(wanted) else None

    def save(self, artifacts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Store artifacts by the hash of their weights, replacing damaged ones.

        Where nobody may write, nothing is stored: then they are computed each time.

        Raises:
            LibraryError: if they can't be written for another reason, such as a full disk.
        """
        packed = {
            self._path(digest): pack_artifact(
                artifact, _name_source(digest, self._algorithm, self._parameters)
            )
            for digest, artifact in artifacts.items()
        }
        try:
            with self._publisher.writing() as change:
                change.write_whole(packed)
        except OSError as error:
            if error.errno not in NOT_ALLOWED:
                num_bytes = sum(map(len, packed.values()))
                what = f"store {self._algorithm!r} of {len(packed)} experts"
                raise explain_failure(self._storage, error, what, EXPERTS_UNCHANGED, num_bytes) from error

    def _path(self, weights_sha256: str) -> str:
        key = artifact_key(weights_sha256, self._algorithm, self._parameters)
        return f"{ARTIFACTS}/{self._algorithm}/{key}.safetensors"


def artifact_key(weights_sha256: str, algorithm: str, parameters: Mapping[str, object]) -> str:
    """Return the hash that an artifact is stored under.

    Args:
        weights_sha256: hash of the expert's weights file.
        algorithm: what computes the artifact; with a version in it, if it ever changes its results.
        parameters: all that the result depends on besides the weights; what JSON can hold.
    """
    source = _name_source(weights_sha256, algorithm, parameters)
    return hashlib.sha256(canonical_json(source).encode()).hexdigest()


def find_weights(storage: Storage, path: str) -> str | None:
    """Return the hash of the weights that an artifact says it was computed from, reading its header alone."""
    try:
        length = int.from_bytes(storage.read(path, end=LENGTH_BYTES), "little")
        content = storage.read(path, end=LENGTH_BYTES + min(length, MOST_HEADER_BYTES))
        return str(read_source(content)["weights"])
    except (FormatError, KeyError):
        return None


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
    key = hashlib.sha256(canonical_json(source).encode()).hexdigest()
    if path != f"{ARTIFACTS}/{source.get('algorithm')}/{key}.safetensors":
        return "lies where an artifact of another source belongs"
    return None


def _name_source(weights_sha256: str, algorithm: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    return {"weights": weights_sha256, "algorithm": algorithm, "parameters": dict(parameters)}


def _read(storage: Storage, path: str) -> bytes:
    most = int(find_limit("artifact_mb") * 1_000_000)
    content = storage.read(path, end=most + 1)
    if len(content) > most:
        raise FormatError(f"is too large: {say_limit('artifact_mb')}")
    return content
