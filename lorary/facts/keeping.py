"""Storing artifacts of experts: in their library, or in the cache folder if they belong to no library."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.experts import Expert
from lorary.facts.cache import Cache, identify_experts
from lorary.facts.fitted_library import WithArtifacts
from lorary.library.artifact_file import Artifact
from lorary.library.derive import ArtifactStore, Compute, IsSound, derive_artifacts
from lorary.library.key import Key


def keep_artifacts(
    experts: Mapping[str, Expert],
    algorithm: str,
    parameters: Mapping[str, Mapping[str, Any]],
    compute: Compute,
    is_sound: IsSound = lambda name, artifact: True,
) -> dict[str, Artifact]:
    """Return the artifacts of some experts; missing ones are computed and stored.

    Args:
        experts: the mapping that has the experts.
        algorithm: name of what ``compute`` does, with a version.
        parameters: expert -> everything else that its artifact depends on, as JSON values; an artifact is
            returned for each of these experts.
        compute: called for experts without a stored artifact, one batch at a time.
        is_sound: checks a stored artifact; one that fails counts as missing.

    Returns:
        Expert -> artifact.

    Raises:
        UnknownExpert: if a library has no expert of a name.
        LibraryError: if a library's artifacts cannot be written.
    """
    names = list(parameters)
    if isinstance(experts, WithArtifacts):
        artifacts = experts.artifacts

        def make_keys(some: Sequence[str]) -> dict[str, Key]:
            return artifacts.make_keys(algorithm, {name: parameters[name] for name in some})

        return derive_artifacts(artifacts, experts, names, make_keys, compute, is_sound)
    hashes = identify_experts(experts, names)
    keys = {name: Key(algorithm, parameters[name], (hashes[name],)) for name in names}
    store: ArtifactStore = Cache()
    return derive_artifacts(store, experts, names, lambda some: keys, compute, is_sound)
