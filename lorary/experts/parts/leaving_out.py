"""Leaving out experts that have more than low-rank factors, with one warning, where none were named."""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lorary.experts.parts.low_rank_only import list_trained_kinds, refuse_kinds
from lorary.experts.parts.table import KINDS
from lorary.files import quote, say_count

if TYPE_CHECKING:
    from lorary.experts.expert import Expert


def keep_low_rank(experts: "Mapping[str, Expert]", names: Sequence[str], action: str) -> list[str]:
    """Return the experts of low-rank factors only. One warning names the others.

    Copies of the base model's weights, which PEFT saves beside factors of embeddings, are not an obstacle
    here: ``lorary.models.parts.changed`` compares them with a model's.

    Args:
        experts: a library or any other mapping.
        names: the experts, none of which the user named.
        action: what needs low-rank factors, such as ``"clustering"``.

    Raises:
        IncompatibleExpert: if none is left, although there are some.
    """
    return leave_out_kinds({name: list_trained_kinds(experts[name]) for name in names}, action)


def leave_out_kinds(kinds: Mapping[str, Sequence[str]], action: str) -> list[str]:
    """Return the names of experts without parts, as ``keep_low_rank`` does.

    Args:
        kinds: name of an expert -> the kinds of its parts.
        action: what needs low-rank factors.

    Raises:
        IncompatibleExpert: if none is left, although there are some.
    """
    others = {name: own for name, own in kinds.items() if own}
    if not others:
        return list(kinds)
    if len(others) == len(kinds):
        refuse_kinds(others, action)
    name, own = next(iter(others.items()))
    titles = " and ".join(KINDS[kind].title for kind in own)
    verb = "it is" if len(others) == 1 else "they are"
    warnings.warn(
        f"{action} uses experts of low-rank factors only, and leaves out "
        f"{say_count(len(others), 'other')}, such as {quote(name, 140)}, which has {titles}; {verb} "
        "used by name",
        stacklevel=3,
    )
    return [name for name in kinds if name not in others]
