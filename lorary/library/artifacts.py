"""Tensors computed from one expert's weights, kept under the hash of what they were computed from.

An artifact's key is the hash of (the weights' hash, the algorithm, its parameters), so an artifact is never
stale: other weights or other parameters have another key. Renaming or copying an expert keeps its artifacts.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save
from torch import Tensor

from lorary.experts import check_name
from lorary.library.failure import NOT_ALLOWED, explain_failure
from lorary.library.publish import PRIVATE, Publisher
from lorary.library.storage import Storage

ARTIFACTS = f"{PRIVATE}/artifacts"

Artifact = dict[str, Tensor]


class ArtifactStore:
    """The artifacts of one algorithm with one set of parameters, by the hash of the weights."""

    def __init__(
        self, storage: Storage, publisher: Publisher, algorithm: str, parameters: Mapping[str, object]
    ):
        self._storage = storage
        self._publisher = publisher
        self._algorithm = check_name(algorithm)
        self._parameters = json.loads(canonical_json(parameters))

    def load(self, weights_sha256: str) -> Artifact | None:
        """Return an artifact, memory-mapped where local; ``None`` if it is missing or damaged."""
        path = self._path(weights_sha256)
        try:
            if self._storage.is_local:
                return load_file(self._storage.path(path))
            return load(self._storage.read(path))
        # What is damaged can be computed again.
        except (FileNotFoundError, SafetensorError):
            return None

    def save(self, artifacts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Store artifacts by the hash of their weights, replacing damaged ones.

        Where nobody may write, nothing is stored: then they are computed each time.

        Raises:
            LibraryError: if they can't be written for another reason, such as a full disk.
        """
        packed = {self._path(digest): self._pack(digest, artifact) for digest, artifact in artifacts.items()}
        try:
            with self._publisher.writing():
                self._publisher.write_whole(packed)
        except OSError as error:
            if error.errno not in NOT_ALLOWED:
                num_bytes = sum(map(len, packed.values()))
                what = f"store {self._algorithm!r} of {len(packed)} experts"
                raise explain_failure(self._storage, error, what, num_bytes) from error

    def _path(self, weights_sha256: str) -> str:
        key = artifact_key(weights_sha256, self._algorithm, self._parameters)
        return f"{ARTIFACTS}/{self._algorithm}/{key}.safetensors"

    def _pack(self, weights_sha256: str, artifact: Mapping[str, Tensor]) -> bytes:
        # Copies, because safetensors refuses tensors that share memory, such as slices of one stack.
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in artifact.items()}
        source = _name_source(weights_sha256, self._algorithm, self._parameters)
        return save(tensors, {"source": canonical_json(source)})


def artifact_key(weights_sha256: str, algorithm: str, parameters: Mapping[str, object]) -> str:
    """Return the hash that an artifact is stored under.

    Args:
        weights_sha256: hash of the expert's weights file.
        algorithm: what computes the artifact; with a version in it, if it ever changes its results.
        parameters: all that the result depends on besides the weights; what JSON can hold.
    """
    source = _name_source(weights_sha256, algorithm, parameters)
    return hashlib.sha256(canonical_json(source).encode()).hexdigest()


def canonical_json(value: Mapping[str, object]) -> str:
    """Write a mapping so that equal ones give equal text.

    Raises:
        TypeError: if it holds what JSON can't.
    """
    try:
        return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"an artifact's parameters must hold only what JSON can ({error}), got {dict(value)!r}"
        ) from error


def _name_source(weights_sha256: str, algorithm: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    return {"weights": weights_sha256, "algorithm": algorithm, "parameters": dict(parameters)}
