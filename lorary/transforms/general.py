"""What is general, taken out of every expert before they are routed among."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lorary.errors import UnknownExpert
from lorary.experts import Expert
from lorary.transforms.merging import merge
from lorary.transforms.merging.methods.subtract import SubtractConfig
from lorary.transforms.merging.one_base import check_one_base
from lorary.transforms.stacks import choose_names


def subtract_general(
    experts: Mapping[str, Expert],
    general: str | Expert,
    *,
    names: Sequence[str] | None = None,
    scale: float = 1.0,
) -> Iterator[Expert]:
    """Take one expert's weight change away from that of every other: ``D_e - scale · D_general``.

    What all experts know says nothing about their tasks. Exact: factors are put side by side and nothing is
    cut, so ranks add up. A layer that only one of the two changes counts as zero in the other.

    Args:
        experts: a library or any other mapping; not more than one of them is in memory at a time.
        general: the expert to take away, or the name of one of ``experts``.
        names: the experts it is taken from, in order; None for all but itself.
        scale: what it is multiplied with.

    Returns:
        One expert after the other, under its own name and with its own tasks; both are its parents.

    Raises:
        UnknownExpert: if a name is none of the experts'.
        ValueError: if there is no other expert, one has the general one's name, or the scale is not finite.
        IncompatibleExpert: if any two are for different base models; on the way, if two differ in a layer's
            shape.

    Source: GenKnowSub, arXiv:2505.10939.
    """
    SubtractConfig(scale=scale)  # refuses what cannot be multiplied with
    if isinstance(general, str):
        if general not in experts:
            raise UnknownExpert(general, experts, "the library")
        general = experts[general].rename(general)
        names = [name for name in experts if name != general.name] if names is None else names
    chosen = choose_names(experts, names)
    if general.name in chosen:
        raise ValueError(f"expert {general.name!r} cannot be taken away from itself: leave it out of names")
    check_one_base({general.name: general, **{name: experts[name] for name in chosen}})
    return (_subtract(experts[name].rename(name), general, scale) for name in chosen)


def _subtract(expert: Expert, general: Expert, scale: float) -> Expert:
    rest = merge([expert, general], "subtract", layers="all", name=expert.name, scale=scale)
    description = f"{expert.name} without {general.name}"
    return replace(rest, card=replace(rest.card, tasks=expert.card.tasks, description=description))
