"""Removing artifacts of experts that are gone."""

import json
from collections.abc import Collection
from typing import NamedTuple

from lorary.library.artifacts import ARTIFACTS
from lorary.library.storage import Storage

# A safetensors file begins with the length of its header, which is JSON.
LENGTH_BYTES = 8


class Pruned(NamedTuple):
    """What pruning did."""

    num_removed: int
    """Artifacts that are gone now."""
    num_kept: int
    """Artifacts of experts that are there."""
    num_bytes: int
    """How many bytes were freed."""


def prune_artifacts(storage: Storage, weights: Collection[str]) -> Pruned:
    """Remove all artifacts but those computed from some weights; call while being the only writer.

    What is damaged goes too: it counts as missing anyway.

    Args:
        storage: the library's.
        weights: hashes of the weights files that are there.
    """
    num_bytes = num_kept = 0
    removed = []
    for path in storage.list_files(ARTIFACTS):
        if _find_weights(storage, path) in weights:
            num_kept += 1
            continue
        num_bytes += storage.count_bytes(path)
        storage.remove(path)
        removed.append(path)
    return Pruned(len(removed), num_kept, num_bytes)


def _find_weights(storage: Storage, path: str) -> str | None:
    """Return the hash of the weights that an artifact was computed from, from its header alone."""
    length = int.from_bytes(storage.read(path, end=LENGTH_BYTES), "little")
    end = min(LENGTH_BYTES + length, storage.count_bytes(path))
    try:
        header = json.loads(storage.read(path, start=LENGTH_BYTES, end=end))
        return str(json.loads(header["__metadata__"]["source"])["weights"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
