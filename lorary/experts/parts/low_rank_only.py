"""The common refusal of experts with parts, for everything that needs low-rank factors."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from lorary.errors import IncompatibleExpert
from lorary.experts.parts.sorting import list_kinds
from lorary.experts.parts.table import KINDS
from lorary.files import quote, say_count

if TYPE_CHECKING:
    from lorary.experts.expert import Expert

POSSIBLE = (
    "such an expert can be stored, verified, evaluated, exported, folded into its base model, and used "
    "by name (experts=…), also in one batch with others"
)

_MERGED = (
    "; sparse changes are also merged with each other (linear, cat, task_arithmetic), and routed by routers "
    "that need no facts (uniform, fixed, single)"
)


def require_low_rank(experts: "Iterable[Expert]", action: str) -> None:
    """Refuse experts that have more than low-rank factors.

    Copies of the base model's weights, which PEFT saves beside factors of embeddings, are not an obstacle:
    they are compared with a model's when the expert is attached to it.

    Args:
        experts: the experts.
        action: what needs low-rank factors, such as ``"merging by ties"``.

    Raises:
        IncompatibleExpert: naming the first such expert, its kinds and what is possible.
    """
    refuse_kinds({expert.name: list_trained_kinds(expert) for expert in experts}, action)


def refuse_kinds(kinds: Mapping[str, Sequence[str]], action: str) -> None:
    """Refuse experts with parts, as ``require_low_rank`` does.

    Args:
        kinds: name of an expert -> the kinds of its parts.
        action: what needs low-rank factors.

    Raises:
        IncompatibleExpert: if an expert has parts.
    """
    others = {name: own for name, own in kinds.items() if own}
    if others:
        name, own = next(iter(others.items()))
        titles = " and ".join(KINDS[kind].title for kind in own)
        more = f" (and {say_count(len(others) - 1, 'more such expert')})" if len(others) > 1 else ""
        raise IncompatibleExpert(
            f"{action} needs experts of low-rank factors only, but expert {quote(name)} has {titles}{more}: "
            f"{POSSIBLE}{_MERGED if all(KINDS[kind].is_linear for kind in own) else ''}"
        )


def list_trained_kinds(expert: "Expert") -> list[str]:
    """List the kinds of an expert's parts, without those that are only copies of the base model's weights."""
    return list_kinds(
        {
            path: tuple(part for part in parts if not getattr(part, "is_copy", False))
            for path, parts in expert.part_outlines.items()
        }
    )


def is_linear(kinds: Iterable[str]) -> bool:
    """Return whether all of some kinds are fixed changes of linear layers' weights."""
    return all(KINDS[kind].is_linear for kind in kinds)
