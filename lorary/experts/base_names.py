"""Whether two experts, or an expert and a model, are for one base model.

Fingerprints decide where both sides have one. Else names are compared, and names of one model differ: by
owner, by where the model was stored, by case, and by the suffixes of quantised or re-hosted copies.
"""

import re
import warnings
from typing import NamedTuple

from lorary.experts.base_identity import CACHED, BaseIdentity, tidy_path
from lorary.experts.base_revisions import Agreement, compare_revisions
from lorary.files import quote

# Digits of a fingerprint that hash the weights; older ones have these alone.
WEIGHT_DIGITS = 16

_SUFFIX = re.compile(
    r"-(unsloth-bnb-4bit|bnb-4bit|bnb-8bit|gptq|awq|gguf|exl2|mlx|4bit|8bit|int4|int8|fp8)$", re.IGNORECASE
)
# What a folder is called after its role, not after the model in it.
_NAMELESS = re.compile(
    r"(checkpoint|step|epoch|global_step|iter)?[-_.]?\d*"
    r"|(final|model|models|default|latest|best|last|base|merged|output|outputs|out|export|weights|hf)[-_]?\d*"
    r"|(final|best|merged|base|my)[-_](model|checkpoint|weights)",
    re.IGNORECASE,
)


class BaseMatch(NamedTuple):
    """The outcome of a comparison."""

    fits: bool
    """Whether both may be taken for one base model."""
    notes: tuple[str, ...] = ()
    """What was assumed for it; a user should be told."""


def compare_bases(one: BaseIdentity, other: BaseIdentity) -> BaseMatch:
    """Tell whether two identities are of one base model.

    Fingerprints decide where both are known. Else the revisions must not differ, as far as that is known here
    (see ``compare_revisions``). And the last parts of the names must be equal, without case; a last part that
    names no model (``checkpoint-500``, ``final``) equals only the whole same path. An empty name fits every
    other: some adapters do not say what they were trained on.

    Args:
        one: an expert's or a model's.
        other: another's.
    """
    if one.fingerprint and other.fingerprint:
        return BaseMatch(_fits_fingerprint(one.fingerprint, other.fingerprint))
    agreement = compare_revisions(one, other)
    if agreement is Agreement.DIFFERENT:
        return BaseMatch(False)
    names = _compare_names(one.name, other.name)
    if names.fits and agreement is Agreement.UNKNOWN and one.revision and other.revision:
        name = quote(one.name or other.name)
        note = (
            f"revisions {quote(one.revision)} and {quote(other.revision)} of {name} are taken for one: no "
            "download on this machine shows whether they are"
        )
        return BaseMatch(True, (*names.notes, note))
    return names


def is_same_base(one: BaseIdentity, other: BaseIdentity) -> bool:
    """Tell the same, and warn of what was assumed for it."""
    match = compare_bases(one, other)
    for note in match.notes:
        warnings.warn(note, stacklevel=3)
    return match.fits


def _compare_names(one: str, other: str) -> BaseMatch:
    if not one or not other or tidy_path(one) == tidy_path(other):
        return BaseMatch(True)
    ours, theirs = _extract_own_name(one), _extract_own_name(other)
    if ours is None or theirs is None:
        return BaseMatch(False)
    if ours == theirs:
        return BaseMatch(True)
    (ours, our_suffix), (theirs, their_suffix) = _split_suffix(ours), _split_suffix(theirs)
    if ours != theirs:
        return BaseMatch(False)
    suffix = our_suffix or their_suffix
    note = f"{quote(one)} and {quote(other)} are taken for one base model: {suffix!r} names a quantised copy"
    return BaseMatch(True, (note,))


def _fits_fingerprint(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    return one == other or (shorter >= WEIGHT_DIGITS and one[:shorter] == other[:shorter])


def _extract_own_name(name: str) -> str | None:
    """Give the part of a name that says which model it is, without case; None if no part does."""
    path = tidy_path(name)
    cached = CACHED.search(path)
    last = cached["name"] if cached else path.rsplit("/", 1)[-1]
    return None if _NAMELESS.fullmatch(last) else last.casefold()


def _split_suffix(name: str) -> tuple[str, str]:
    """Split the suffixes of a quantised copy from a name."""
    rest = name
    while match := _SUFFIX.search(rest):
        rest = rest[: match.start()]
    return rest, name[len(rest) :]
