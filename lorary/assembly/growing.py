"""Adding an expert to a routed model, and removing one: the router stays, with its options."""

import warnings

from lorary.assembly.current_router import CurrentRouter
from lorary.assembly.dividing import divide_changed
from lorary.experts import Expert
from lorary.experts.parts.low_rank_only import list_trained_kinds
from lorary.facts.known import Facts
from lorary.files import quote
from lorary.models.check_base import check_base
from lorary.models.fit_paths import fit_paths
from lorary.models.grow import drop_expert, insert_expert


def add_expert(facts: Facts, current: CurrentRouter, expert: Expert, trust_base: bool) -> None:
    """Add an expert that the router may choose, if it has low-rank factors; see ``RoutedModel.add_expert``.

    Args:
        facts: the model's experts; the new one comes after all that a router may choose.
        current: the model's router.
        expert: the new one.
        trust_base: whether to accept an expert for another base model, with a warning.
    """
    if not isinstance(expert, Expert):
        raise TypeError(
            f"add_expert takes an Expert, found {quote(expert, 60)}: read it by library[NAME] or "
            "read_peft(FOLDER)"
        )
    with facts.stack.context.lock.changing("add an expert"):
        check_base(facts.base, expert, trust=trust_base)
        (expert,) = fit_paths(facts.base.model, {expert.name: expert}).values()
        if (
            list_trained_kinds(expert)
            or divide_changed(facts.base.model, {expert.name: expert})
            or _stands_alone(facts, expert)
        ):
            facts.add_named(insert_expert(facts.stack, expert, len(facts.stack.names)), expert)
            current.set_again()
            return
        current.check((*facts.names, expert.name))
        facts.add(insert_expert(facts.stack, expert, len(facts.names)), expert)
        try:
            current.set_again()
        except BaseException:
            _remove(facts, current, expert.name)
            raise


def _stands_alone(facts: Facts, expert: Expert) -> bool:
    """Return whether an expert builds on no general one while those that the router chooses do."""
    general = facts.stack.general
    if general is None or expert.card.on_top_of is not None:
        return False
    warnings.warn(
        f"expert {quote(expert.name)} does not build on the model's general expert {quote(general.name)}: "
        f"routers do not choose it; use it by name, as in experts={quote(expert.name)}",
        stacklevel=4,
    )
    return True


def remove_expert(facts: Facts, current: CurrentRouter, name: str) -> None:
    """Remove an expert that the router may choose, see ``RoutedModel.remove_expert``.

    Args:
        facts: the model's experts.
        current: the model's router.
        name: the expert.
    """
    with facts.stack.context.lock.changing("remove an expert"):
        is_general = facts.general is not None and name == facts.general.name
        if name not in facts.named and not is_general:
            facts.require(name)
        left = tuple(other for other in facts.names if other != name)
        if not left and not facts.named.keys() - {name}:
            raise ValueError(f"expert {name!r} is the last one: use detach() to get the base model back")
        if left:
            current.check(left)
        _remove(facts, current, name)


def _remove(facts: Facts, current: CurrentRouter, name: str) -> None:
    facts.remove(drop_expert(facts.stack, name), name)
    current.set_again()
