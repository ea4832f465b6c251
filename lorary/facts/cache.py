"""Artifacts that belong to no library and took long to compute, stored in this machine's cache folder.

Only the user can write to that folder: a tensor that someone else put there would be used as if computed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from lorary.errors import FormatError
from lorary.experts import Expert
from lorary.files import open_cache_folder, open_regular, write_whole
from lorary.library.artifact_file import Artifact, pack_artifact
from lorary.library.artifacts import open_artifact
from lorary.library.key import Key


class Cache:
    """Artifacts in the cache folder: ``$LORARY_CACHE`` or ``~/.cache/lorary``."""

    def name_place(self, key: Key, *, make: bool = True) -> Path:
        """Return the path of an artifact's file in the cache folder, which is made if it is missing."""
        return open_cache_folder(make=make) / "artifacts" / key.algorithm / f"{key.digest}.safetensors"

    def load(self, key: Key) -> Artifact | None:
        """Return an artifact; None if it is missing or damaged."""
        try:
            with open_regular(self.name_place(key, make=False), follow=False) as file:
                return open_artifact(file.read(), key)
        except (OSError, RuntimeError, FormatError):
            return None

    def save(self, key: Key, tensors: Mapping[str, Tensor]) -> None:
        """Write an artifact, completely or not at all."""
        # Nothing is lost if this fails: the artifact is computed again next time.
        with suppress(OSError, RuntimeError, SafetensorError):
            write_whole(self.name_place(key), pack_artifact(tensors, key.source))

    def save_all(self, artifacts: Mapping[Key, Mapping[str, Tensor]]) -> None:
        """Write artifacts; see ``save``."""
        for key, tensors in artifacts.items():
            self.save(key, tensors)


def identify_experts(experts: Mapping[str, Expert], names: Sequence[str]) -> dict[str, str]:
    """Return the hash of each expert's factors, for keys of artifacts of experts without a library."""
    return {name: _hash_factors(experts[name]) for name in names}


def _hash_factors(expert: Expert) -> str:
    digest = hashlib.sha256()
    for path, pair in sorted(expert.factors.items()):
        for tensor in pair:
            digest.update(f"{path} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
