"""Finding artifacts of experts that are gone."""

from collections.abc import Collection
from typing import NamedTuple

from lorary.library.artifacts import ARTIFACTS, read_subjects
from lorary.library.storage.contract import Storage


class Pruned(NamedTuple):
    """What pruning did."""

    num_removed: int
    """Artifacts that are gone now."""
    num_kept: int
    """Artifacts of experts that are there."""
    num_bytes: int
    """How many bytes were freed."""


def find_unused_artifacts(storage: Storage, present: Collection[str]) -> tuple[list[str], Pruned]:
    """Find all artifacts but those of experts that are there.

    What was computed from several experts counts as soon as one of them is gone. What is damaged counts too:
    it is computed again anyway. Of a link the link goes, never what it leads to.

    Args:
        storage: the library's.
        present: the hashes of the experts that are there.

    Returns:
        The paths of what is to be removed, and what that frees.
    """
    num_bytes = num_kept = 0
    unused = []
    for path, kind in storage.walk(ARTIFACTS).items():
        subjects = read_subjects(storage, path) if kind == "file" else ()
        if subjects and all(subject in present for subject in subjects):
            num_kept += 1
            continue
        num_bytes += storage.count_bytes(path)
        unused.append(path)
    return unused, Pruned(len(unused), num_kept, num_bytes)
