"""Removing artifacts of experts that no longer exist."""

from collections.abc import Collection
from typing import NamedTuple

from lorary.library import catalog
from lorary.library.artifacts import ARTIFACTS, list_needed
from lorary.library.commits import commit_plan
from lorary.library.failure import EXPERTS_UNCHANGED
from lorary.library.storage.contract import Puts, Storage


class Pruned(NamedTuple):
    """The result of pruning."""

    num_removed: int
    """Number of removed artifacts."""
    num_kept: int
    """Number of artifacts that were kept."""
    num_bytes: int
    """Number of freed bytes."""


def prune_artifacts(storage: Storage) -> Pruned:
    """Remove every artifact of which an expert no longer exists, or the general expert that it was read with.

    Raises:
        LibraryError: if the library cannot be changed.
    """
    found = Pruned(0, 0, 0)

    def plan() -> tuple[Puts, list[str]]:
        nonlocal found
        names = catalog.list_experts(storage)
        present = {
            *catalog.identify_experts(storage, names).values(),
            *catalog.hash_weights(storage, names).values(),
        }
        unused, found = find_unused_artifacts(storage, present)
        return {}, unused

    commit_plan(storage, "remove artifacts", plan, outcome=EXPERTS_UNCHANGED)
    return found


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
        subjects = list_needed(storage, path) if kind == "file" else ()
        if subjects and all(subject in present for subject in subjects):
            num_kept += 1
            continue
        num_bytes += storage.count_bytes(path)
        unused.append(path)
    return unused, Pruned(len(unused), num_kept, num_bytes)
