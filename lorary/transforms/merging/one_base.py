"""Checking that experts which are combined are for one base model."""

import warnings
from collections.abc import Mapping
from itertools import combinations

from lorary.errors import IncompatibleExpert
from lorary.experts import BaseIdentity, Expert
from lorary.experts.base_names import compare_bases
from lorary.experts.expert import identify_base
from lorary.files import quote


def check_one_base(experts: Mapping[str, Expert]) -> None:
    """Check that all experts are for the same base model.

    Each assumption that is needed for a match, such as that a tag and a commit are the same revision, is
    warned about once.

    Args:
        experts: name -> expert.

    Raises:
        IncompatibleExpert: if two experts are for different base models.
    """
    different: dict[BaseIdentity, str] = {}
    for name, expert in experts.items():
        different.setdefault(identify_base(expert), name)
    notes: dict[str, None] = {}
    # All pairs, because matching is not transitive: an expert without a revision matches any revision.
    for (one, one_name), (other, name) in combinations(different.items(), 2):
        match = compare_bases(one, other)
        if not match.fits:
            raise IncompatibleExpert(
                f"experts that are combined must be for one base model, but expert {one_name!r} is for "
                f"{quote(one.name)} and expert {name!r} for {quote(other.name)}{_tell_apart(one, other)}: "
                "choose experts of one base model; if these are the same model, use expert.with_base(…) or "
                "--trust-base"
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
