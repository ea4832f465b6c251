"""Experts that build on a general expert: its identity, finding it, and the sum of both.

R rank, I layer input, O layer output.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from lorary.errors import IncompatibleExpert
from lorary.experts.card import shorten_hash
from lorary.experts.expert import Expert
from lorary.experts.factors import Factors
from lorary.experts.parts.low_rank_only import require_low_rank
from lorary.experts.peft_writer import write_expert_files
from lorary.experts.roles import GENERAL
from lorary.experts.stored_factors import StoredFactors
from lorary.experts.weights_file import WEIGHTS_FILE
from lorary.files import quote, say_count
from lorary.lowrank import weighted_sum


@dataclass(frozen=True)
class General:
    """The general expert of a model, and the experts that build on it."""

    name: str
    """Its name among the model's experts."""
    weights: str
    """The hash of its weights, which the cards of the others have as ``on_top_of``."""
    standing: frozenset[str]
    """Names of the experts that build on it."""


def hash_weights(expert: Expert) -> str:
    """Return the SHA-256 of an expert's weights file: the stored one, or the one that a library would write.

    Cards of experts that build on this one have it as ``on_top_of``.
    """
    if isinstance(expert.factors, StoredFactors) and expert.factors.sha256 is not None:
        return expert.factors.sha256
    return sha256(write_expert_files(expert)[WEIGHTS_FILE]).hexdigest()


def check_general(expert: Expert) -> None:
    """Refuse an expert that no other can build on.

    Raises:
        IncompatibleExpert: if it has more than low-rank factors, or builds on another itself.
    """
    require_low_rank([expert], "a general expert")
    if expert.card.on_top_of is not None:
        raise IncompatibleExpert(
            f"a general expert must be complete by itself, but {expert.name!r} builds on another "
            f"({shorten_hash(expert.card.on_top_of)}): use that one, or the sum of both "
            "(lorary.add_general)"
        )


def find_standing(experts: Mapping[str, Expert]) -> General | None:
    """Find the general expert that some experts build on, among all of them.

    Args:
        experts: name -> expert, also the general expert itself.

    Returns:
        It, and the names of those that build on it; None if none builds on any.

    Raises:
        IncompatibleExpert: if the general expert is not among them, or experts build on different ones.
    """
    groups = {weights: names for weights, names in group_by_general(experts).items() if weights is not None}
    if not groups:
        return None
    if len(groups) > 1:
        first = [names[0] for names in groups.values()]
        raise IncompatibleExpert(
            f"experts of one model must build on one general expert, found {len(groups)}: {first[0]!r} and "
            f"{first[1]!r} build on different ones: use those of one of them"
        )
    ((weights, names),) = groups.items()
    found = find_by_weights(experts, weights)
    if found is None:
        raise IncompatibleExpert(say_general_missing(experts[names[0]], names, "the given experts"))
    check_general(experts[found])
    return General(found, weights, frozenset(names))


def group_by_general(experts: Mapping[str, Expert]) -> dict[str | None, list[str]]:
    """Group experts by the hash of the general expert that they build on; None for experts on none."""
    groups: dict[str | None, list[str]] = {}
    for name, expert in experts.items():
        groups.setdefault(expert.card.on_top_of, []).append(name)
    return groups


def agree_on_general(experts: Mapping[str, Expert]) -> str | None:
    """Return the hash of the general expert that all of some experts build on; None if all build on none.

    Raises:
        IncompatibleExpert: if two of them differ.
    """
    (weights, members), *others = [*group_by_general(experts).items()] or [(None, [])]
    if others:
        other, (name, *_) = others[0]
        raise IncompatibleExpert(
            "experts that are combined must build on the same general expert, or all on none, but "
            f"{members[0]!r} builds on {_name_weights(weights)} and {name!r} on {_name_weights(other)}: "
            "choose experts of one kind, or the sums of experts with theirs (lorary.add_general)"
        )
    return weights


def _name_weights(weights: str | None) -> str:
    return "none" if weights is None else shorten_hash(weights)


def set_apart(experts: Mapping[str, Expert]) -> dict[str, Expert]:
    """Return experts without their general expert, for a model on which it is already active."""
    return {name: _forget_general(expert) for name, expert in experts.items()}


def _forget_general(expert: Expert) -> Expert:
    if expert.card.on_top_of is None:
        return expert
    return replace(expert, card=replace(expert.card, on_top_of=None))


def join_general(experts: Mapping[str, Expert], general: Expert | None) -> dict[str, Expert]:
    """Return experts with the general expert that they build on, under a free name, after all of them."""
    if general is None:
        return dict(experts)
    name = general.name
    while name in experts:
        name += "+"
    return {**experts, name: general}


def as_general(expert: Expert, experts: Mapping[str, Expert]) -> Expert:
    """Return an expert with the role ``"general"``, for others to build on, or as the fallback of routers.

    Args:
        expert: the expert, such as a merge of all; if it builds on another, the sum of both is returned.
        experts: a library or mapping that has the one it builds on.

    Raises:
        IncompatibleExpert: if no expert can build on it, or ``experts`` lacks the one that it builds on.
    """
    whole = add_general(expert, experts)
    check_general(whole)
    return replace(whole, card=replace(whole.card, role=GENERAL))


def find_by_weights(experts: Mapping[str, Expert], weights: str) -> str | None:
    """Find the expert whose weights have a hash; those that build on others are not candidates."""
    names = [name for name, expert in experts.items() if expert.card.on_top_of is None]
    # Hashing weights that are not in a file takes long, so likely candidates are tried first.
    names.sort(key=lambda name: experts[name].card.role != GENERAL)
    return next((name for name in names if hash_weights(experts[name]) == weights), None)


def say_general_missing(expert: Expert, names: Iterable[str], where: str) -> str:
    """Return the message for experts whose general expert is not there.

    Args:
        expert: the first of them.
        names: the names of all.
        where: where it is missing.
    """
    count = len(list(names))
    more = f" (and {say_count(count - 1, 'more expert')})" if count > 1 else ""
    weights = expert.card.on_top_of or ""
    note = expert.card.provenance.get("general")
    named = f", named {quote(note)} then" if isinstance(note, str) else ""
    return (
        f"expert {expert.name!r}{more} builds on a general expert (weights {shorten_hash(weights)}{named}) "
        f"that {where} lacks: add it with `lorary library add`, or pass it as general=..."
    )


def add_general(expert: Expert, general: Expert | Mapping[str, Expert]) -> Expert:
    """Return the exact sum of an expert and the general expert that it builds on, a complete expert.

    Ranks add up, since factors are concatenated. PEFT and other programs can load the sum alone.

    Args:
        expert: an expert; one that builds on none is returned unchanged.
        general: the general expert, or a mapping or library that has it under any name.

    Raises:
        IncompatibleExpert: if it is another expert than the one that ``expert`` builds on, the mapping lacks
            it, or ``expert`` has more than low-rank factors.
    """
    wanted = expert.card.on_top_of
    if wanted is None:
        return expert
    if not isinstance(general, Expert):
        found = find_by_weights(general, wanted)
        if found is None:
            raise IncompatibleExpert(say_general_missing(expert, [expert.name], "the given library"))
        general = general[found].rename(found)
    if hash_weights(general) != wanted:
        raise IncompatibleExpert(
            f"expert {expert.name!r} builds on a general expert of other weights ({shorten_hash(wanted)}) "
            f"than {general.name!r}: pass the one that it was trained on top of"
        )
    require_low_rank([expert], "adding a general expert")
    paths = dict.fromkeys([*general.factors, *expert.factors])
    factors = {path: _add(general, expert, path) for path in paths}
    note = {"general": general.name, "general_weights": wanted, "sum_of": [general.name, expert.name]}
    card = replace(
        expert.card,
        on_top_of=None,
        provenance={**expert.card.provenance, **note},
        parents=tuple(dict.fromkeys([*expert.card.parents, expert.name, general.name])),
    )
    return replace(expert, factors=factors, parts={}, card=card)


def _add(general: Expert, expert: Expert, path: str) -> Factors:
    pairs = [owner.factors[path] for owner in (general, expert) if path in owner.factors]
    return pairs[0] if len(pairs) == 1 else Factors(*weighted_sum(pairs, [1.0] * len(pairs)))
