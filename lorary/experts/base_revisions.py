"""Whether two revisions of a base model are the same: commits, branches and tags of a hub.

A branch or tag is compared with a commit by the downloads on this machine, which record the commit of each
branch and tag that was asked for.
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
    """The outcome of a comparison."""

    SAME = "same"
    DIFFERENT = "different"
    UNKNOWN = "unknown"


def compare_revisions(one: BaseIdentity, other: BaseIdentity) -> Agreement:
    """Tell whether two identities of one base model are of the same revision.

    Commits are the same if one begins with the other. Two branches or tags are the same if their names or
    their commits are. What is not given, and a branch or tag whose commit is not known here, compared with a
    commit, is ``UNKNOWN``.
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
    """Return the revision of the base model that experts are for, a commit if one is named.

    Args:
        bases: expert -> what is known of its base model.

    Returns:
        None if no revision is named, or fingerprints show that several are one model.

    Raises:
        IncompatibleExpert: if different ones are named.
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
                f"the experts are for different revisions of their base model: {one!r} for {quote(first)}, "
                f"{other!r} for {quote(second)}. Load those of one revision, or name the revision to use; if "
                "all are one model, trust_base=True or --trust-base takes the others too"
            )
    commits = [revision for revision in named if is_commit(revision)]
    return max(commits, key=len) if commits else next(iter(named), None)


def is_commit(revision: str) -> bool:
    """Tell a commit from branches and tags."""
    return COMMIT.fullmatch(revision) is not None


def _find_commit(revision: str, names: tuple[str, ...]) -> str | None:
    """Find the commit of a revision of a model that may have several names; None if it is not known here."""
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
    """Name the folder in the hub's cache that has all downloads of a model."""
    path = tidy_path(name)
    if cached := CACHED.search(path):
        return Path(constants.HF_HUB_CACHE, path[cached.start() :].split("/", 1)[0])
    is_id = bool(path) and path.count("/") <= 1 and "\0" not in path
    return Path(constants.HF_HUB_CACHE, f"models--{path.replace('/', '--')}") if is_id else None
