"""Keeping artifacts of experts: in their library, or in the cache folder for experts of other mappings."""

from collections.abc import Mapping, Sequence
from typing import Any

from lorary.experts import Expert
from lorary.facts.cache import Cache, identify_experts
from lorary.library import Key, Library
from lorary.library.artifact_file import Artifact
from lorary.library.derive import ArtifactStore, Compute, IsSound, derive_artifacts


def keep_artifacts(
    experts: Mapping[str, Expert],
    algorithm: str,
    parameters: Mapping[str, Mapping[str, Any]],
    compute: Compute,
    is_sound: IsSound = lambda name, artifact: True,
) -> dict[str, Artifact]:
    """Give artifacts of experts, and compute those that are not kept yet.

    Args:
        experts: where the experts are.
        algorithm: what ``compute`` does, with a version in its name.
        parameters: names of the experts in question -> all else that each one's artifact depends on; what
            JSON can hold.
        compute: called for those that are missing, a batch at a time.
        is_sound: checks a stored artifact; a refused one counts as missing.

    Raises:
        UnknownExpert: if a library has no expert of a name.
        LibraryError: if a library's artifacts cannot be written.
    """
    names = list(parameters)
    if isinstance(experts, Library):
        artifacts = experts.artifacts

        def find_keys(some: Sequence[str]) -> dict[str, Key]:
            return artifacts.find_keys(algorithm, {name: parameters[name] for name in some})

        return derive_artifacts(artifacts, experts, names, find_keys, compute, is_sound)
    hashes = identify_experts(experts, names)
    keys = {name: Key(algorithm, parameters[name], (hashes[name],)) for name in names}
    store: ArtifactStore = Cache()
    return derive_artifacts(store, experts, names, lambda some: keys, compute, is_sound)
