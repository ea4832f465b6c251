"""Tensors that took time to compute and belong to no library, kept in this machine's cache folder.

The folder is its user's alone: what others could write there would be taken for computed.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lorary.assembly.soundness import Artifact, IsSound
from lorary.errors import FormatError
from lorary.experts import Expert
from lorary.files import find_cache_folder, make_private_folder, open_regular, write_whole
from lorary.library import Library
from lorary.library.artifacts import artifact_key

# The hash of all other tensors of a file.
_SEAL = "sha256"
Compute = Callable[[Mapping[str, Expert]], Mapping[str, Artifact]]
"""Experts by name -> an artifact for each."""


def keep_artifacts(
    experts: Mapping[str, Expert],
    names: Sequence[str],
    algorithm: str,
    parameters: Mapping[str, Any],
    compute: Compute,
    is_sound: IsSound = lambda name, artifact: True,
) -> dict[str, Artifact]:
    """Give artifacts of experts: a ``Library`` keeps its own, those of other mappings are kept in the cache.

    Args:
        experts: where the experts are.
        names: those in question.
        algorithm: what ``compute`` does, with a version in its name.
        parameters: all else that the answer depends on; what JSON can hold.
        compute: called for those that are missing.
        is_sound: looks at what was kept; what it does not accept counts as missing.

    Raises:
        UnknownExpert: if a library has no expert of a name.
        LibraryError: if a library's artifacts cannot be written.
    """
    if isinstance(experts, Library):
        return dict(experts.artifacts(algorithm, parameters, compute, names, is_sound))
    places = {name: find_place(_hash_factors(experts[name]), algorithm, parameters) for name in names}
    stored = {name: load_artifact(place) for name, place in places.items()}
    found: dict[str, Artifact] = {
        name: known for name, known in stored.items() if known is not None and is_sound(name, known)
    }
    missing = {name: experts[name] for name in names if name not in found}
    for name, computed in (compute(missing) if missing else {}).items():
        save_artifact(places[name], computed)
        found[name] = computed
    return found


def find_place(source: str, algorithm: str, parameters: Mapping[str, Any]) -> Path:
    """Find the file of an artifact in the cache folder: ``$LORARY_CACHE`` or ``~/.cache/lorary``.

    Args:
        source: hash of what it is computed from.
        algorithm: what computes it, with a version in its name.
        parameters: all else that it depends on; what JSON can hold.
    """
    return (
        find_cache_folder()
        / "artifacts"
        / algorithm
        / f"{artifact_key(source, algorithm, parameters)}.safetensors"
    )


def load_artifact(place: Path) -> dict[str, Tensor] | None:
    """Read an artifact; None if it is missing or damaged."""
    try:
        with open_regular(place, follow=False) as file:
            tensors = load(file.read())
    except (OSError, FormatError, SafetensorError):
        return None
    seal = tensors.pop(_SEAL, None)
    return tensors if seal is not None and torch.equal(seal, _seal(tensors)) else None


def save_artifact(place: Path, artifact: Artifact) -> None:
    """Write an artifact, whole or not at all. Where that fails it is computed again next time."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in artifact.items()}
    with suppress(OSError, SafetensorError):
        make_private_folder(find_cache_folder(), follow=True)
        write_whole(place, save({**tensors, _SEAL: _seal(tensors)}))


def _seal(tensors: Mapping[str, Tensor]) -> Tensor:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_to_bytes(tensor))
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _hash_factors(expert: Expert) -> str:
    digest = hashlib.sha256()
    for path, pair in sorted(expert.factors.items()):
        for tensor in pair:
            digest.update(f"{path} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(_to_bytes(tensor))
    return digest.hexdigest()


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
