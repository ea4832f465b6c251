"""Whether experts that are put together are for one base model."""

import warnings
from collections.abc import Mapping
from itertools import combinations

from lorary.errors import IncompatibleExpert
from lorary.experts import BaseIdentity, Expert
from lorary.experts.base_names import compare_bases
from lorary.experts.expert import identify_base
from lorary.files import quote


def check_one_base(experts: Mapping[str, Expert]) -> None:
    """Refuse experts of which any two are for different base models.

    What has to be assumed for them to fit, such as that a tag is a commit, is warned of once.

    Args:
        experts: name -> expert.

    Raises:
        IncompatibleExpert: naming the two, and what to do.
    """
    different: dict[BaseIdentity, str] = {}
    for name, expert in experts.items():
        different.setdefault(identify_base(expert), name)
    notes: dict[str, None] = {}
    # Each with each: one that says little fits others that do not fit each other.
    for (one, one_name), (other, name) in combinations(different.items(), 2):
        match = compare_bases(one, other)
        if not match.fits:
            raise IncompatibleExpert(
                f"experts that are put together must be for one base model, but expert {one_name!r} is for "
                f"{quote(one.name)} and expert {name!r} for {quote(other.name)}{_tell_apart(one, other)}: "
                "name experts of one base model; if these are one model, expert.with_base(…) or --trust-base "
                "says so"
            )
        notes |= dict.fromkeys(match.notes)
    for note in notes:
        warnings.warn(note, stacklevel=3)


def _tell_apart(one: BaseIdentity, other: BaseIdentity) -> str:
    if one.fingerprint and other.fingerprint:
        return f" (fingerprints {quote(one.fingerprint)} and {quote(other.fingerprint)})"
    if one.revision and other.revision and one.revision != other.revision:
        return f" (revisions {quote(one.revision)} and {quote(other.revision)})"
    return ""
