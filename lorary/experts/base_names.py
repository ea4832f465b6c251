"""Whether two experts, or an expert and a model, are for one base model.

Fingerprints decide where both sides have one. Else names are compared, and names of one model differ: by
owner, by where the model was stored, by case, and by the suffixes of quantised or re-hosted copies.
"""

import re
import warnings
from collections.abc import Mapping
from typing import NamedTuple

from lorary.errors import IncompatibleExpert
from lorary.files import quote

# Digits of a fingerprint that hash the weights; older ones have these alone.
WEIGHT_DIGITS = 16

_SUFFIX = re.compile(
    r"-(unsloth-bnb-4bit|bnb-4bit|bnb-8bit|gptq|awq|gguf|exl2|mlx|4bit|8bit|int4|int8|fp8)$", re.IGNORECASE
)
# A model cached by huggingface_hub: models--owner--name/snapshots/<commit>.
_CACHED = re.compile(r"models--(?:.+--)?(?P<name>[^/]+?)(?:/snapshots/[^/]+)?$")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
# What a folder is called after its role, not after the model in it.
_NAMELESS = re.compile(
    r"(checkpoint|step|epoch|global_step|iter)?[-_.]?\d*"
    r"|(final|model|models|default|latest|best|last|base|merged|output|outputs|out|export|weights|hf)[-_]?\d*"
    r"|(final|best|merged|base|my)[-_](model|checkpoint|weights)",
    re.IGNORECASE,
)


class BaseIdentity(NamedTuple):
    """What is known of a base model."""

    name: str
    """Hub id, path, or empty if nobody says."""
    fingerprint: str | None = None
    """Hash of its weights and settings, see ``lorary.models.fingerprint_model``."""
    revision: str | None = None
    """The hub's commit, or a branch or tag."""


class BaseMatch(NamedTuple):
    """The outcome of a comparison."""

    fits: bool
    """Whether both may be taken for one base model."""
    dropped: str = ""
    """The suffix that was left out of one name to see it, such as ``-bnb-4bit``; a user should be told."""


def compare_bases(one: BaseIdentity, other: BaseIdentity) -> BaseMatch:
    """Tell whether two identities are of one base model.

    Fingerprints decide where both are known. Else two revisions must be equal where both are commits, or both
    are branches or tags; which commit a branch was cannot be told. And the last parts of the names must be
    equal, without case; a last part that names no model (``checkpoint-500``, ``final``) equals only the whole
    same path. An empty name fits every other: some adapters do not say what they were trained on.

    Args:
        one: an expert's or a model's.
        other: another's.
    """
    if one.fingerprint and other.fingerprint:
        return BaseMatch(_fits_fingerprint(one.fingerprint, other.fingerprint))
    if _differ_in_revision(one.revision, other.revision):
        return BaseMatch(False)
    if not one.name or not other.name or _tidy(one.name) == _tidy(other.name):
        return BaseMatch(True)
    ours, theirs = _extract_own_name(one.name), _extract_own_name(other.name)
    if ours is None or theirs is None:
        return BaseMatch(False)
    if ours == theirs:
        return BaseMatch(True)
    (ours, our_suffix), (theirs, their_suffix) = _split_suffix(ours), _split_suffix(theirs)
    return BaseMatch(True, our_suffix or their_suffix) if ours == theirs else BaseMatch(False)


def agree_on_revision(bases: Mapping[str, BaseIdentity]) -> str | None:
    """Give the revision of the base model that experts are for; None if none is named or all are alike.

    Args:
        bases: expert -> what is known of its base model.

    Raises:
        IncompatibleExpert: if they name several, and no fingerprints say that these are one model.
    """
    named: dict[str, str] = {}
    for name, base in bases.items():
        if base.revision and base.revision != "main":
            named.setdefault(base.revision, name)
    if len(named) < 2:
        return next(iter(named), None)
    prints = {bases[name].fingerprint for name in bases}
    if len(prints) == 1 and None not in prints:
        return None
    (one, first), (other, second), *_ = named.items()
    raise IncompatibleExpert(
        f"the experts are for different revisions of their base model: {first!r} for {quote(one)}, "
        f"{second!r} for {quote(other)}. Load those of one revision, or say which revision to use"
    )


def is_same_base(one: BaseIdentity, other: BaseIdentity) -> bool:
    """Tell the same, with a warning where a quantised copy is taken for its original."""
    match = compare_bases(one, other)
    if match.dropped:
        warnings.warn(
            f"{quote(one.name)} and {quote(other.name)} are taken for one base model: {match.dropped!r} "
            "names a quantised copy",
            stacklevel=3,
        )
    return match.fits


def is_other_tag(one: str | None, other: str | None) -> bool:
    """Tell whether two revisions are branches or tags, and not the same one."""
    return bool(one and other and one != other) and not any(
        _COMMIT.fullmatch(each or "") for each in (one, other)
    )


def _fits_fingerprint(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    return one == other or (shorter >= WEIGHT_DIGITS and one[:shorter] == other[:shorter])


def _differ_in_revision(one: str | None, other: str | None) -> bool:
    if not one or not other or "main" in (one, other):
        return False
    are_commits = [bool(_COMMIT.fullmatch(each)) for each in (one, other)]
    if all(are_commits):
        return not (one.startswith(other) or other.startswith(one))
    return one != other and not any(are_commits)


def _tidy(name: str) -> str:
    """Write a path with slashes, also one from Windows, and none at its end."""
    return name.replace("\\", "/").rstrip("/")


def _extract_own_name(name: str) -> str | None:
    """Give the part of a name that says which model it is, without case; None if no part does."""
    path = _tidy(name)
    cached = _CACHED.search(path)
    last = cached["name"] if cached else path.rsplit("/", 1)[-1]
    return None if _NAMELESS.fullmatch(last) else last.casefold()


def _split_suffix(name: str) -> tuple[str, str]:
    """Split the suffixes of a quantised copy from a name."""
    rest = name
    while match := _SUFFIX.search(rest):
        rest = rest[: match.start()]
    return rest, name[len(rest) :]
