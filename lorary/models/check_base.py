"""Whether experts were trained on a loaded base model."""

import warnings
from collections.abc import Sequence

from lorary.errors import IncompatibleExpert
from lorary.experts import BaseIdentity, Expert
from lorary.experts.base_names import BaseMatch, compare_bases
from lorary.experts.base_revisions import Agreement, agree_on_revision, compare_revisions, is_commit
from lorary.experts.expert import identify_base
from lorary.files import quote, say_count
from lorary.models.base import BaseModel


def check_base(base: BaseModel, *experts: Expert, trust: bool = False) -> None:
    """Refuse experts that were trained on another base model, see ``lorary.experts.base_names``.

    A warning is given once for assumptions that are needed, such as that a tag is the loaded commit.

    Args:
        base: the base model.
        experts: the experts.
        trust: whether to warn of experts for another base model, by name, revision or fingerprint, instead of
            refusing them.

    Raises:
        IncompatibleExpert: naming both bases, and what to do.
    """
    # Most experts of a library name one base model: it is compared once.
    groups: dict[BaseIdentity, list[Expert]] = {}
    for expert in experts:
        groups.setdefault(identify_base(expert), []).append(expert)
    matches = {wanted: _compare(base, wanted) for wanted in groups}
    misfits = [expert for wanted, match in matches.items() if not match.fits for expert in groups[wanted]]
    if misfits and not trust:
        raise IncompatibleExpert(
            f"{_name_both(base, misfits[0])}: {_advise(base, misfits[0])}; if both are the same "
            "model, trust_base=True or --trust-base accepts the expert"
        )
    if base.revision is None and not trust:
        agree_on_revision(
            {expert.name: wanted for wanted, (expert, *_) in groups.items() if _is_blind(wanted)}
        )
    if misfits:
        warnings.warn(_tell_trusted(base, misfits), stacklevel=2)
    for note in dict.fromkeys(note for match in matches.values() for note in match.notes):
        warnings.warn(note, stacklevel=2)


def is_for_base(base: BaseModel, expert: Expert) -> bool:
    """Return whether an expert was trained on a base model, as far as known."""
    return _compare(base, identify_base(expert)).fits


def _compare(base: BaseModel, wanted: BaseIdentity) -> BaseMatch:
    found = BaseIdentity(base.name, base.fingerprint, base.revision, base.kept)
    asked = base.asked_revision
    is_open = wanted.revision is not None and compare_revisions(wanted, found) is Agreement.UNKNOWN
    # The commit of a tag may be unknown, but the requested tag is known.
    if is_open and asked is not None and not is_commit(wanted.revision or ""):
        found = found._replace(revision=asked)
    match = compare_bases(wanted, found)
    if match.fits and _is_blind(wanted) and found.revision is None:
        note = (
            f"{quote(base.name)} is treated as revision {quote(wanted.revision)} of "
            f"{quote(wanted.name or base.name)}, which experts were trained on: it has no revision to compare"
        )
        return BaseMatch(True, (*match.notes, note))
    return match


def _is_blind(wanted: BaseIdentity) -> bool:
    """Return whether a revision decides, because there is no fingerprint."""
    return wanted.revision is not None and wanted.fingerprint is None


def _name_both(base: BaseModel, expert: Expert) -> str:
    wanted = identify_base(expert)
    marks = ""
    if wanted.fingerprint:
        marks = f" (fingerprint {wanted.fingerprint}, not {base.fingerprint})"
    elif _differs_in_revision(base, wanted):
        found = base.revision if base.asked_revision is None else base.asked_revision
        marks = f" (revision {quote(wanted.revision)}, not {quote(found)})"
    trained = f"expert {expert.name!r} was trained on {quote(expert.base_model)}"
    return f"{trained}, this model is {quote(base.name)}{marks}"


def _advise(base: BaseModel, expert: Expert) -> str:
    wanted = identify_base(expert)
    has_name = compare_bases(BaseIdentity(wanted.name), BaseIdentity(base.name)).fits
    if wanted.fingerprint and has_name:
        return "load it with the version of that base model that it was trained on"
    if _differs_in_revision(base, wanted):
        return f"load it with revision={quote(wanted.revision)} of that base model"
    return "load it with that base model"


def _differs_in_revision(base: BaseModel, wanted: BaseIdentity) -> bool:
    return _is_blind(wanted) and compare_bases(BaseIdentity(wanted.name), BaseIdentity(base.name)).fits


def _tell_trusted(base: BaseModel, misfits: Sequence[Expert]) -> str:
    more = (
        f" (and {say_count(len(misfits) - 1, 'more expert')} of another base model)"
        if len(misfits) > 1
        else ""
    )
    return (
        f"{_name_both(base, misfits[0])}{more}: accepted, since the base model is trusted; only "
        "the shapes of layers are checked"
    )
