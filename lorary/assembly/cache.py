"""Tensors that took time to compute and belong to no library, kept in this machine's cache folder."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lorary.experts import Expert
from lorary.library import Library
from lorary.library.artifacts import artifact_key

Artifact = Mapping[str, Tensor]
"""Named tensors."""
Compute = Callable[[Mapping[str, Expert]], Mapping[str, Artifact]]
"""Experts by name -> an artifact for each."""


def keep_artifacts(
    experts: Mapping[str, Expert],
    names: Sequence[str],
    algorithm: str,
    parameters: Mapping[str, Any],
    compute: Compute,
) -> dict[str, Artifact]:
    """Give artifacts of experts: a ``Library`` keeps its own, those of other mappings are kept in the cache.

    Args:
        experts: where the experts are.
        names: those in question.
        algorithm: what ``compute`` does, with a version in its name.
        parameters: all else that the answer depends on; what JSON can hold.
        compute: called for those that are missing.

    Raises:
        UnknownExpert: if a library has no expert of a name.
        LibraryError: if a library's artifacts cannot be written.
    """
    if isinstance(experts, Library):
        return dict(experts.artifacts(algorithm, parameters, compute, names))
    places = {name: find_place(_hash_factors(experts[name]), algorithm, parameters) for name in names}
    stored = {name: load_artifact(place) for name, place in places.items()}
    found: dict[str, Artifact] = {name: known for name, known in stored.items() if known is not None}
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
    cache = Path(os.environ.get("LORARY_CACHE") or Path.home() / ".cache" / "lorary")
    return cache / "artifacts" / algorithm / f"{artifact_key(source, algorithm, parameters)}.safetensors"


def load_artifact(place: Path) -> dict[str, Tensor] | None:
    """Read an artifact; None if it is missing or damaged."""
    try:
        return load_file(place)
    except (OSError, SafetensorError):
        return None


def save_artifact(place: Path, artifact: Artifact) -> None:
    """Write an artifact, whole or not at all. Where that fails it is computed again next time."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in artifact.items()}
    with suppress(OSError, SafetensorError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
            save_file(tensors, Path(scratch) / place.name)
            os.replace(Path(scratch) / place.name, place)


def _hash_factors(expert: Expert) -> str:
    digest = hashlib.sha256()
    for path, pair in sorted(expert.factors.items()):
        for tensor in pair:
            digest.update(f"{path} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
