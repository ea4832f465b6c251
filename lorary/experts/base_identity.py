"""What is known of a base model: its name, a fingerprint, a revision."""

import re
from typing import NamedTuple

COMMIT = re.compile(r"[0-9a-f]{7,40}")
"""A commit of the hub, or its first digits."""
CACHED = re.compile(r"models--(?:.+--)?(?P<name>[^/]+?)(?:/snapshots/(?P<commit>[^/]+))?$")
"""A model cached by huggingface_hub: ``models--owner--name/snapshots/<commit>``."""
DEFAULT_BRANCH = "main"


class BaseIdentity(NamedTuple):
    """What is known of a base model."""

    name: str
    """Hub id, path, or empty if nobody says."""
    fingerprint: str | None = None
    """Hash of its weights and settings, see ``lorary.models.fingerprint_model``."""
    revision: str | None = None
    """The hub's commit, or a branch or tag."""


def read_identity(name: str, fingerprint: str | None, revision: str | None) -> BaseIdentity:
    """Describe the base model that an expert's card names.

    The default branch counts as no revision, because it moves. So does a commit in the path of a download
    (``…/snapshots/<commit>``): it says where the model lay, not that no other commit would do.

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
    """Write a path with slashes, also one from Windows, and none at its end."""
    return name.replace("\\", "/").rstrip("/")
