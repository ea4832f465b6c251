"""The key of an artifact: the hash of everything that it was computed from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorary.experts import check_name
from lorary.files import parse_json_object
from lorary.library.artifact_file import canonical_json


@dataclass(frozen=True)
class Key:
    """The key of an artifact: algorithm, parameters and subjects.

    Subjects are hashes of experts' content. So an artifact is never out of date: other content has another
    key.

    Raises:
        ValueError: if the algorithm's name is not safe as a file name, or there is no subject.
        TypeError: if the parameters have values that JSON cannot represent.
    """

    algorithm: str
    """Name of what computes the artifact, with a version that changes whenever its results change."""
    parameters: Mapping[str, Any]
    """Everything that the artifact depends on besides its subjects, as JSON values."""
    subjects: tuple[str, ...]
    """The hash of the expert that it was computed from, or the hashes of several experts. Their order
    matters, because the rows of an artifact may follow it. If not, sort them."""

    def __post_init__(self) -> None:
        check_name(self.algorithm)
        if not self.subjects:
            raise ValueError(f"an artifact of {self.algorithm!r} must have a subject, found none")
        known = parse_json_object(canonical_json(self.parameters).encode(), "parameters")
        object.__setattr__(self, "parameters", known)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def source(self) -> dict[str, Any]:
        """The source as written into an artifact's file."""
        # A single subject is written as text, as in libraries of the first versions.
        weights = self.subjects[0] if len(self.subjects) == 1 else list(self.subjects)
        return {"weights": weights, "algorithm": self.algorithm, "parameters": self.parameters}

    @property
    def digest(self) -> str:
        """The hash that is the name of the artifact's file."""
        return hash_source(self.source)


def hash_source(source: Mapping[str, Any]) -> str:
    """Return the hash of an artifact's source."""
    return hashlib.sha256(canonical_json(source).encode()).hexdigest()


def list_subjects(source: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the subjects in an artifact's source; an empty tuple if there are none."""
    weights = source.get("weights")
    return tuple(map(str, weights)) if isinstance(weights, list) else (str(weights),) if weights else ()
