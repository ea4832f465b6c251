"""What an artifact is known by: the hash of all that it was computed from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorary.experts import check_name
from lorary.files import parse_json_object
from lorary.library.artifact_file import canonical_json


@dataclass(frozen=True)
class Key:
    """The address of an artifact: what computed it, with which settings, from what.

    Subjects are hashes of content, so that an artifact is never stale: another content has another key.

    Raises:
        ValueError: if the algorithm is no safe name, or there is no subject.
        TypeError: if the parameters hold what JSON cannot.
    """

    algorithm: str
    """What computes the artifact; with a version in it, if it ever changes its results."""
    parameters: Mapping[str, Any]
    """All that the artifact depends on besides its subjects; what JSON can hold."""
    subjects: tuple[str, ...]
    """The hash of the expert that it was computed from, or of each of several together. Their order counts,
    because rows of an artifact may follow it; where it makes no difference, give them sorted."""

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
        """What an artifact's file says it was computed from."""
        # A single expert is written as in libraries of the first versions, which knew no others.
        weights = self.subjects[0] if len(self.subjects) == 1 else list(self.subjects)
        return {"weights": weights, "algorithm": self.algorithm, "parameters": self.parameters}

    @property
    def digest(self) -> str:
        """The hash that the artifact is stored under."""
        return hash_source(self.source)


def hash_source(source: Mapping[str, Any]) -> str:
    """Return the hash of what an artifact was computed from."""
    return hashlib.sha256(canonical_json(source).encode()).hexdigest()


def list_subjects(source: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the subjects in what an artifact's file says; none if it names none."""
    weights = source.get("weights")
    return tuple(map(str, weights)) if isinstance(weights, list) else (str(weights),) if weights else ()
