"""Finding the general expert of a model, and the experts that build on it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import EllipsisType

from lorary.errors import IncompatibleExpert, UnknownExpert
from lorary.experts import Expert
from lorary.experts.card import shorten_hash
from lorary.experts.on_top import (
    General,
    check_general,
    group_by_general,
    hash_weights,
    say_general_missing,
)
from lorary.experts.parts.low_rank_only import list_trained_kinds
from lorary.files import quote, say_count
from lorary.library.general import find_general, list_generals, whole_library


@dataclass(frozen=True, kw_only=True)
class FoundGeneral:
    """The general expert of a model, and how the other experts are used."""

    name: str | None = None
    """Its name on the model; None if there is none."""
    expert: Expert | None = None
    """The expert itself."""
    standing: General | None = None
    """The experts that build on it, so that it is always active; None if it is only a fallback for
    routers."""
    by_name: frozenset[str] = frozenset()
    """Experts that build on none, unlike those that routers choose among: used by name only."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Name -> why the model does not have this expert: it builds on another general expert."""

    def leave_out_same(self, controls: Mapping[str, Expert]) -> dict[str, Expert]:
        """Return the controls without the general expert itself, which has its name on the model anyway."""
        own = self.experts()
        return {
            name: expert
            for name, expert in controls.items()
            if name not in own or hash_weights(expert) != hash_weights(own[name])
        }

    def join_controls(self, controls: Mapping[str, Expert]) -> General | None:
        """Return ``standing`` with the controls that build on the general expert too.

        Raises:
            IncompatibleExpert: if a control builds on another one.
        """
        weights = None if self.standing is None else self.standing.weights
        joined = {name: expert for name, expert in controls.items() if expert.card.on_top_of is not None}
        for name, expert in joined.items():
            if expert.card.on_top_of != weights:
                known = "none" if self.standing is None else quote(self.standing.name)
                raise IncompatibleExpert(
                    f"control {name!r} builds on another general expert than the experts, which build on "
                    f"{known}: leave it out, or give the sum of both (lorary.add_general)"
                )
        if self.standing is None:
            return None
        return replace(self.standing, standing=self.standing.standing | joined.keys())

    def experts(self) -> dict[str, Expert]:
        """Return the general expert as a mapping, empty if there is none."""
        return {} if self.name is None or self.expert is None else {self.name: self.expert}


def find_model_general(
    library: Mapping[str, Expert],
    own: Mapping[str, Expert],
    named: Mapping[str, Expert],
    given: str | Expert | EllipsisType | None,
    controls: Mapping[str, Expert],
) -> FoundGeneral:
    """Find a model's general expert.

    Routers choose among experts that build on the same one, or on none, whichever is more frequent.

    Args:
        library: the source of the experts; a library has the general expert too.
        own: the experts that routers choose among.
        named: experts that are used by name only.
        given: the general expert, or its name in the library; ``...``: the one that experts build on, else
            the only one in the library; None: none, if no expert builds on one.
        controls: further experts that will be on the model, by name.

    Raises:
        IncompatibleExpert: if the experts' general expert is not there, or no expert can build on the given
            one.
        UnknownExpert: if there is no expert of a given name.
    """
    groups = group_by_general({**own, **named})
    weights = _choose_group(groups, own)
    if weights is None:
        left_out = _leave_out_standing(groups, None)
        taken = {*own, *named, *_list_others(library, controls)} - left_out.keys()
        return _find_fallback(library, given, left_out, taken)
    members = groups[weights]
    name, expert = _find_one(library, own, weights, given, members)
    check_general(expert)
    others = {each for each in groups.get(None, []) if each != name}
    by_name = frozenset(each for each in others if each in own)
    if by_name:
        first = quote(min(by_name))
        more = f" (and {say_count(len(by_name) - 1, 'more expert')})" if len(by_name) > 1 else ""
        warnings.warn(
            f"expert {first}{more} builds on no general expert, but others build on {quote(name)}: routers "
            f"do not choose it; use it by name, as in experts={first}",
            stacklevel=3,
        )
    return FoundGeneral(
        name=name,
        expert=expert,
        standing=General(name, weights, frozenset(members)),
        by_name=by_name,
        left_out=_leave_out_standing(groups, weights),
    )


def _choose_group(groups: Mapping[str | None, list[str]], own: Mapping[str, Expert]) -> str | None:
    """Choose the general expert that most experts build on, which routers choose among; None for none."""

    def count(weights: str | None) -> tuple[int, bool, str]:
        return sum(name in own for name in groups[weights]), weights is not None, weights or ""

    return max(groups, key=count, default=None)


def _find_one(
    library: Mapping[str, Expert],
    own: Mapping[str, Expert],
    weights: str,
    given: str | Expert | EllipsisType | None,
    members: list[str],
) -> tuple[str, Expert]:
    """Find the expert that some experts build on, by the hash of its weights."""
    if isinstance(given, Expert):
        name, expert = given.name, given
    elif isinstance(given, str):
        name, expert = given, _look_up(library, given)
    else:
        found = find_general(library, weights)
        if found is None:
            where = "the given experts" if whole_library(library) is library else "their library"
            raise IncompatibleExpert(say_general_missing(own[members[0]], members, where))
        return found, whole_library(library)[found]
    if hash_weights(expert) != weights:
        raise IncompatibleExpert(
            f"expert {members[0]!r} builds on a general expert of other weights ({shorten_hash(weights)}) "
            f"than {name!r}: pass the one that it was trained on top of, or leave out general=..."
        )
    return name, expert


def _find_fallback(
    library: Mapping[str, Expert],
    given: str | Expert | EllipsisType | None,
    left_out: Mapping[str, str],
    taken: set[str],
) -> FoundGeneral:
    """Find a general expert that no expert builds on, for routers to fall back on."""
    if given is None:
        return FoundGeneral(left_out=left_out)
    if isinstance(given, EllipsisType):
        only = _find_only(library, taken)
        return FoundGeneral(name=None if only is None else only.name, expert=only, left_out=left_out)
    expert = given if isinstance(given, Expert) else _look_up(library, given).rename(given)
    check_general(expert)
    return FoundGeneral(name=expert.name, expert=expert, left_out=left_out)


def _list_others(library: Mapping[str, Expert], controls: Mapping[str, Expert]) -> list[str]:
    """List the controls that are not the library's experts of their names."""
    everyone = whole_library(library)
    return [
        name
        for name, expert in controls.items()
        if name not in everyone or hash_weights(expert) != hash_weights(everyone[name])
    ]


def _find_only(library: Mapping[str, Expert], taken: set[str]) -> Expert | None:
    """Find the only general expert of a library; if there are several, one must be given."""
    names = [name for name in list_generals(library) if name not in taken]
    if len(names) != 1:
        return None
    expert = whole_library(library)[names[0]].rename(names[0])
    fits = not list_trained_kinds(expert) and expert.card.on_top_of is None
    return expert if fits else None


def _look_up(library: Mapping[str, Expert], name: str) -> Expert:
    everyone = whole_library(library)
    if name not in everyone:
        raise UnknownExpert(name, everyone, "the library")
    return everyone[name]


def _leave_out_standing(groups: Mapping[str | None, list[str]], kept: str | None) -> dict[str, str]:
    """Return the experts that build on another general expert than the model's, with the reason."""
    found = {
        name: f"it builds on another general expert ({shorten_hash(weights)}): load it separately"
        for weights, names in groups.items()
        if weights is not None and weights != kept
        for name in names
    }
    if found:
        first = min(found)
        more = f" (and {say_count(len(found) - 1, 'more expert')})" if len(found) > 1 else ""
        warnings.warn(
            f"expert {quote(first)}{more} is left out: {found[first]}",
            stacklevel=4,
        )
    return found
