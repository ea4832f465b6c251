"""Finding artifacts of experts that no longer exist."""

from collections.abc import Collection
from typing import NamedTuple

from lorary.library.artifacts import ARTIFACTS, read_subjects
from lorary.library.storage.contract import Storage


class Pruned(NamedTuple):
    """The result of pruning."""

    num_removed: int
    """Number of removed artifacts."""
    num_kept: int
    """Number of artifacts that were kept."""
    num_bytes: int
    """Number of freed bytes."""


def find_unused_artifacts(storage: Storage, present: Collection[str]) -> tuple[list[str], Pruned]:
    """Find the artifacts of which at least one expert no longer exists.

    Damaged artifacts are found too, since they would be computed again anyway. For a link, the link itself is
    removed, never its target.

    Args:
        storage: the library's storage.
        present: the hashes of the existing experts.

    Returns:
        The paths to be removed, and the counts.
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
