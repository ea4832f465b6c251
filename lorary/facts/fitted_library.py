"""A library whose experts were renamed to the module paths of a model, see ``lorary.models.fit_paths``."""

from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from typing import Any

from torch import Tensor

from lorary.experts import Expert
from lorary.library import Library
from lorary.library.artifact_file import Artifact
from lorary.library.key import Key
from lorary.library.view import LibraryView


class FittedArtifacts:
    """The artifacts of a library, by keys that have the module paths of renamed experts.

    The tensors of an artifact are named by module path. So the library keeps an artifact for the paths in its
    files and one for the paths of each other class of model.

    Args:
        library: stores the artifacts.
        paths: renamed expert -> hash of its module paths.
    """

    def __init__(self, library: Library | LibraryView, paths: Mapping[str, str]):
        self._artifacts = library.artifacts
        self._paths = paths

    def make_keys(self, algorithm: str, parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Key]:
        """Return the key of an artifact of each expert, see ``Artifacts.make_keys``."""
        return self._artifacts.make_keys(
            algorithm,
            {
                name: {**own, "paths": self._paths[name]} if name in self._paths else own
                for name, own in parameters.items()
            },
        )

    def load(self, key: Key) -> Artifact | None:
        """Return an artifact; None if it is missing or damaged."""
        return self._artifacts.load(key)

    def list_together(self, algorithm: str) -> dict[Key, tuple[str, ...]]:
        """List the artifacts of several experts together, see ``Artifacts.list_together``."""
        return self._artifacts.list_together(algorithm)

    def save_all(self, artifacts: Mapping[Key, Mapping[str, Tensor]]) -> None:
        """Store artifacts in the library."""
        self._artifacts.save_all(artifacts)


class FittedLibrary(Mapping[str, Expert]):
    """The experts of a library with the module paths of a model.

    Args:
        library: has the experts' files, and stores their artifacts.
        fitted: its experts with the model's paths, by name.
        renamed: those of them whose paths are not those in their files.
    """

    def __init__(
        self, library: Library | LibraryView, fitted: Mapping[str, Expert], renamed: Collection[str]
    ):
        self._fitted = dict(fitted)
        self.artifacts = FittedArtifacts(library, {name: _hash_paths(fitted[name]) for name in renamed})

    def __getitem__(self, name: str) -> Expert:
        return self._fitted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fitted)

    def __len__(self) -> int:
        return len(self._fitted)


WithArtifacts = Library | LibraryView | FittedLibrary
"""The mappings of experts that store artifacts."""


def _hash_paths(expert: Expert) -> str:
    return sha256("\n".join(sorted(expert.outlines)).encode()).hexdigest()
