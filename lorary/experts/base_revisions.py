"""Comparing revisions of a base model: commits, branches and tags on the hub.

A branch or tag can be compared with a commit if it was downloaded to this machine, because the hub's cache
records the commit of each downloaded branch and tag.
"""

from collections.abc import Mapping
from enum import Enum
from itertools import combinations
from pathlib import Path

from huggingface_hub import constants

from lorary.errors import FormatError, IncompatibleExpert
from lorary.experts.base_identity import CACHED, COMMIT, BaseIdentity, tidy_path
from lorary.files import open_regular, quote


class Agreement(Enum):
    """The result of a comparison."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


def compare_revisions(one: BaseIdentity, other: BaseIdentity) -> Agreement:
    """Compare the revisions of two identities of a base model.

    Commits are the same if one begins with the other. Branches and tags are the same if their names or their
    commits are the same. The result is ``UNKNOWN`` if a revision is not known, or if one is a commit and the
    other a branch or tag whose commit is not known on this machine.
    """
    if not one.revision or not other.revision:
        return Agreement.UNKNOWN
    if one.revision == other.revision:
        return Agreement.SAME
    names = (one.name, other.name)
    ours, theirs = (_find_commit(revision, names) for revision in (one.revision, other.revision))
    if ours and theirs:
        is_same = ours.startswith(theirs) or theirs.startswith(ours)
        return Agreement.SAME if is_same else Agreement.DIFFERENT
    has_commit = is_commit(one.revision) or is_commit(other.revision)
    return Agreement.UNKNOWN if has_commit else Agreement.DIFFERENT


def agree_on_revision(bases: Mapping[str, BaseIdentity]) -> str | None:
    """Return the revision of the experts' base model, preferably a commit.

    Args:
        bases: name of an expert -> identity of its base model.

    Returns:
        The revision; None if none is known, or if revisions differ but fingerprints are equal.

    Raises:
        IncompatibleExpert: if revisions differ.
    """
    named: dict[str, str] = {}
    for name, base in bases.items():
        if base.revision:
            named.setdefault(base.revision, name)
    for (first, one), (second, other) in combinations(named.items(), 2):
        if compare_revisions(bases[one], bases[other]) is Agreement.DIFFERENT:
            prints = {base.fingerprint for base in bases.values()}
            if len(prints) == 1 and None not in prints:
                return None
            raise IncompatibleExpert(
                f"experts must be for one revision of their base model, found {one!r} for {quote(first)} and "
                f"{other!r} for {quote(second)}: load experts of one revision, or choose the revision; if "
                "their weights are equal, use trust_base=True or --trust-base"
            )
    commits = [revision for revision in named if is_commit(revision)]
    return max(commits, key=len) if commits else next(iter(named), None)


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit, not a branch or tag."""
    return COMMIT.fullmatch(revision) is not None


def _find_commit(revision: str, names: tuple[str, ...]) -> str | None:
    """Return the commit of a revision in the hub's cache, under any of the model's names; None if unknown."""
    if is_commit(revision):
        return revision
    parts = revision.split("/")
    if "" in parts or "." in parts or ".." in parts or "\0" in revision:
        return None
    for folder in filter(None, map(_find_download, names)):
        try:
            with open_regular(folder.joinpath("refs", *parts), follow=False) as file:
                found = file.read(41).decode("ascii", "replace").strip()
        except (OSError, FormatError):
            continue
        if is_commit(found):
            return found
    return None


def _find_download(name: str) -> Path | None:
    """Return the folder of a model in the hub's cache; None if the name cannot be a hub id."""
    path = tidy_path(name)
    if cached := CACHED.search(path):
        return Path(constants.HF_HUB_CACHE, path[cached.start() :].split("/", 1)[0])
    is_id = bool(path) and path.count("/") <= 1 and "\0" not in path
    return Path(constants.HF_HUB_CACHE, f"models--{path.replace('/', '--')}") if is_id else None
