"""The identity of a base model: its name, fingerprint and revision."""

import re
from typing import NamedTuple

COMMIT = re.compile(r"[0-9a-f]{7,40}")
"""A commit on the hub, or its first digits."""
CACHED = re.compile(r"models--(?:.+--)?(?P<name>[^/]+?)(?:/snapshots/(?P<commit>[^/]+))?$")
"""Path of a model in the cache of huggingface_hub: ``models--owner--name/snapshots/<commit>``."""
DEFAULT_BRANCH = "main"


class BaseIdentity(NamedTuple):
    """The known identity of a base model."""

    name: str
    """Hub id or path; empty if unknown."""
    fingerprint: str | None = None
    """Hash of its weights and settings, see ``lorary.models.fingerprint_model``; None if unknown."""
    revision: str | None = None
    """A commit, branch or tag on the hub; None if unknown."""
    kept: str | None = None
    """Hash of the weights that quantisation keeps, of a loaded model; None if unknown."""


def read_identity(name: str, fingerprint: str | None, revision: str | None) -> BaseIdentity:
    """Return the identity of the base model in an expert's card.

    The default branch is not a revision, because its commit changes. A commit in the path of a download
    (``…/snapshots/<commit>``) is not a revision either: other commits may have the same weights.

    Args:
        name: hub id or path.
        fingerprint: hash of weights and settings.
        revision: commit, branch or tag.
    """
    return BaseIdentity(name, fingerprint, None if revision in ("", DEFAULT_BRANCH) else revision)


def find_path_commit(name: str) -> str | None:
    """Return the commit in the path of a download, ``…/snapshots/<commit>``; None for other names."""
    cached = CACHED.search(tidy_path(name))
    commit = cached and cached["commit"]
    return commit if commit and COMMIT.fullmatch(commit) else None


def tidy_path(name: str) -> str:
    """Return a path with slashes instead of backslashes, and without slashes at its end."""
    return name.replace("\\", "/").rstrip("/")
