"""Dividing experts into those that routers may choose and those that are used by name only."""

import warnings
from collections.abc import Collection, Mapping, Sequence

from transformers import PreTrainedModel

from lorary.experts import Expert
from lorary.experts.parts import KINDS
from lorary.experts.parts.low_rank_only import is_linear, list_trained_kinds
from lorary.files import quote, say_count
from lorary.library import Library
from lorary.library.view import LibraryView
from lorary.models.parts.changed import find_changed
from lorary.routing import RouterConfig


def divide_experts(
    experts: Mapping[str, Expert], config: RouterConfig | None = None
) -> tuple[dict[str, Expert], dict[str, Expert]]:
    """Return the experts that a router may choose (those of low-rank factors), and all others.

    A router that needs no facts may choose sparse changes too.

    One warning names the others.

    Args:
        experts: name -> expert.
        config: the router's configuration, if one is asked for.
    """
    takes_linear = config is not None and not config.needs
    named = {
        name: expert
        for name, expert in experts.items()
        if (kinds := list_trained_kinds(expert)) and not (takes_linear and is_linear(kinds))
    }
    _warn_of({name: list_trained_kinds(expert) for name, expert in named.items()})
    return {name: expert for name, expert in experts.items() if name not in named}, named


def divide_changed(model: PreTrainedModel, experts: Mapping[str, Expert]) -> dict[str, list[str]]:
    """Return ``find_changed`` of experts that a router may choose; the router would use only their factors.

    One warning names them.
    """
    changed = find_changed(model, experts)
    _warn_of(changed)
    return changed


def _warn_of(kinds: Mapping[str, Sequence[str]]) -> None:
    if kinds:
        name, own = next(iter(kinds.items()))
        titles = " and ".join(KINDS[kind].title for kind in own)
        more = f" (and {say_count(len(kinds) - 1, 'more such expert')})" if len(kinds) > 1 else ""
        warnings.warn(
            f"expert {quote(name)} has {titles}{more}: routers do not choose it; use it by name, "
            f"as in experts={quote(name)}",
            stacklevel=4,
        )


def leave_out(experts: Mapping[str, Expert], names: Collection[str]) -> Mapping[str, Expert]:
    """Return a mapping without some experts; a library's artifacts remain available."""
    kept = [name for name in experts if name not in names]
    if isinstance(experts, LibraryView):
        return LibraryView(experts.library, kept, experts.left_out)
    if isinstance(experts, Library):
        return LibraryView(experts, kept, {})
    return {name: experts[name] for name in kept}
