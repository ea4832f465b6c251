"""Comparing base models of two experts, or of an expert and a model.

If both fingerprints are known, they are compared, also those of a model and a quantised copy of it. Otherwise
names are compared. Names of the same model can differ in the owner, the folder, the case, and suffixes of
quantised or re-hosted copies.
"""

import re
import warnings
from typing import NamedTuple

from lorary.experts.base_fingerprint import Fingerprint, is_same_print
from lorary.experts.base_identity import CACHED, BaseIdentity, tidy_path
from lorary.experts.base_revisions import Agreement, compare_revisions
from lorary.files import quote

_SUFFIX = re.compile(
    r"-(unsloth-bnb-4bit|bnb-4bit|bnb-8bit|gptq|awq|gguf|exl2|mlx|4bit|8bit|int4|int8|fp8)$", re.IGNORECASE
)
# Names of folders that do not name a model, such as checkpoint-500.
_NAMELESS = re.compile(
    r"(checkpoint|step|epoch|global_step|iter)?[-_.]?\d*"
    r"|(final|model|models|default|latest|best|last|base|merged|output|outputs|out|export|weights|hf)[-_]?\d*"
    r"|(final|best|merged|base|my)[-_](model|checkpoint|weights)",
    re.IGNORECASE,
)


# The embedded base model's name on the hub, which exported adapters have.
_SHORT_NAMES = {"smollm2-135m-instruct": "smollm2-135m"}


class BaseMatch(NamedTuple):
    """The result of a comparison."""

    fits: bool
    """Whether both are treated as the same base model."""
    notes: tuple[str, ...] = ()
    """Assumptions of the comparison, of which users should be warned."""


def compare_bases(one: BaseIdentity, other: BaseIdentity) -> BaseMatch:
    """Compare two base models.

    If both fingerprints are known, they must be equal, or those of a model and a quantised copy of it, or of
    two quantised copies of it. If one is known only by name to be such a copy, its settings must be equal.
    If a fingerprint is unknown, two conditions must hold:

    - The revisions are not known to differ (see ``compare_revisions``).
    - The last parts of the names are equal except for case. If a last part does not name a model
      (``checkpoint-500``, ``final``), the whole paths must be equal. An empty name equals every name, because
      some adapters have no name of their base model.

    Args:
        one: identity of an expert's base model, or of a model.
        other: another such identity.
    """
    if one.fingerprint and other.fingerprint:
        return _compare_fingerprints(one, other)
    agreement = compare_revisions(one, other)
    if agreement is Agreement.DIFFERENT:
        return BaseMatch(False)
    names = _compare_names(one.name, other.name)
    if names.fits and agreement is Agreement.UNKNOWN and one.revision and other.revision:
        name = quote(one.name or other.name)
        note = (
            f"revisions {quote(one.revision)} and {quote(other.revision)} of {name} are treated as equal: "
            "no download on this machine shows whether they are"
        )
        return BaseMatch(True, (*names.notes, note))
    return names


def is_same_base(one: BaseIdentity, other: BaseIdentity) -> bool:
    """Return whether two base models match, and warn of the assumptions; see ``compare_bases``."""
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
    note = (
        f"{quote(one)} and {quote(other)} are treated as one base model: suffix {suffix!r} is that of a "
        "quantised copy"
    )
    return BaseMatch(True, (note,))


def _compare_fingerprints(one: BaseIdentity, other: BaseIdentity) -> BaseMatch:
    ours, theirs = Fingerprint.parse(one.fingerprint or ""), Fingerprint.parse(other.fingerprint or "")
    if is_same_print(ours.own, theirs.own):
        return BaseMatch(True)
    if not (ours.is_quantised or theirs.is_quantised):
        return BaseMatch(False)
    reason = ""
    if ours.full and theirs.full:
        fits = is_same_print(ours.full, theirs.full)
        if fits and ours.is_quantised and theirs.is_quantised:
            # For example quantised from bfloat16 and from float32. Both users chose a copy, so there is no
            # note.
            return BaseMatch(True)
    else:
        fits = ours.settings == theirs.settings
        kept = (ours.kept or one.kept, theirs.kept or other.kept)
        if None not in kept:
            fits = fits and kept[0] == kept[1]
            reason = ", as their embeddings and norms and their settings are equal"
        else:
            fits = fits and _compare_names(one.name, other.name).fits
            reason = ", as their names and settings agree; no hash of weights shows it"
    note = (
        f"{_describe(one, ours)} and {_describe(other, theirs)} are treated as one base model{reason}: "
        "outputs differ, since quantisation rounds weights"
    )
    return BaseMatch(fits, (note,) if fits else ())


def _describe(base: BaseIdentity, fingerprint: Fingerprint) -> str:
    return f"{quote(base.name)} ({'quantised' if fingerprint.is_quantised else 'in full precision'})"


def _extract_own_name(name: str) -> str | None:
    """Return the part of a name that names the model, in lower case; None if there is none."""
    path = tidy_path(name)
    cached = CACHED.search(path)
    last = cached["name"] if cached else path.rsplit("/", 1)[-1]
    if _NAMELESS.fullmatch(last):
        return None
    return _SHORT_NAMES.get(last.casefold(), last.casefold())


def _split_suffix(name: str) -> tuple[str, str]:
    """Split a name into the model's name and suffixes of quantised copies."""
    rest = name
    while match := _SUFFIX.search(rest):
        rest = rest[: match.start()]
    return rest, name[len(rest) :]
