"""Subtracting the weight change of a general expert from each expert of a library."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lorary.errors import UnknownExpert
from lorary.experts import Expert, hash_weights
from lorary.experts.on_top import check_general, set_apart
from lorary.experts.parts import require_low_rank
from lorary.experts.parts.leaving_out import keep_low_rank
from lorary.experts.routed import list_routed
from lorary.transforms.merging import merge
from lorary.transforms.merging.methods.subtract import SubtractConfig
from lorary.transforms.merging.one_base import check_one_base
from lorary.transforms.stacks import choose_names

ACTION = "subtracting a general expert"


def subtract_general(
    experts: Mapping[str, Expert],
    general: str | Expert,
    *,
    names: Sequence[str] | None = None,
    scale: float = 1.0,
) -> Iterator[Expert]:
    """Subtract one expert's weight change from that of each other expert: ``D_e - scale · D_general``.

    An expert that builds on a general expert is the sum of both. If that one is subtracted, the result builds
    on none; if another is, it builds on it as before.

    What all experts have learned does not help a router to choose between them. The result is exact: factors
    are concatenated and not truncated, so ranks add up. If only one of the two experts changes a layer, the
    other's change of it is zero.

    Args:
        experts: a library or any other mapping; at most one of them is in memory at a time.
        general: the expert to subtract, or the name of one of ``experts``.
        names: the experts from which it is subtracted, in order; None for those of ``list_routed`` except
            ``general``.
        scale: factor of the subtracted change.

    Returns:
        An iterator of experts, each with its own name and tasks, and with both experts as parents. It raises
        ``IncompatibleExpert`` if two experts have different shapes of a layer.

    Raises:
        UnknownExpert: if there is no expert of a name.
        ValueError: if there is no other expert, one has the name of ``general``, or the scale is not finite.
        IncompatibleExpert: if two experts are for different base models, or ``general`` builds on another.

    Source: GenKnowSub, arXiv:2505.10939.
    """
    SubtractConfig(scale=scale)  # checks the scale before the iterator is used
    if isinstance(general, str):
        if general not in experts:
            raise UnknownExpert(general, experts, "the library")
        general = experts[general].rename(general)
        if names is None:
            others = [name for name in list_routed(experts) if name != general.name]
            names = keep_low_rank(experts, others, ACTION)
    chosen = choose_names(experts, names, ACTION)
    if general.name in chosen:
        raise ValueError(
            f"names must not include the general expert, found {general.name!r}: leave it out of names"
        )
    require_low_rank([general, *(experts[name] for name in chosen)], ACTION)
    check_general(general)
    check_one_base({general.name: general, **{name: experts[name] for name in chosen}})
    return (_subtract(experts[name].rename(name), general, scale) for name in chosen)


def _subtract(expert: Expert, general: Expert, scale: float) -> Expert:
    weights = expert.card.on_top_of
    if weights is not None and hash_weights(general) == weights:
        # A share of 1 - scale of the general expert remains in the sum.
        weights, scale = None, scale - 1.0
    (alone,) = set_apart({expert.name: expert}).values()
    rest = merge([alone, general], "subtract", layers="all", name=expert.name, scale=scale)
    description = f"{expert.name} without {general.name}"
    card = replace(
        rest.card, tasks=expert.card.tasks, role=expert.card.role, description=description, on_top_of=weights
    )
    return replace(rest, card=card)
