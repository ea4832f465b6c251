"""What a router may use besides the request: one column of every table of routers.

This file needs no PyTorch, so that help can be shown quickly.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Protocol


class Uses(StrEnum):
    """What a router is built from, worded for users; the least first."""

    EXPERTS = "experts only"
    """The experts: their weights, and their cards."""
    GENERIC = "generic text"
    """The experts, and requests that belong to no particular task, which the base model can generate."""
    EXAMPLES = "task examples"
    """Examples of each expert's own task."""
    TRAINED = "trained"
    """A training on examples of tasks."""


class UsesSomething(Protocol):
    """An entry of the table of routers."""

    @property
    def uses(self) -> Uses:
        """What the router may use."""
        ...


def group_by_uses(routers: Mapping[str, UsesSomething]) -> dict[Uses, list[str]]:
    """Return the names of routers by what they use, in the order of ``Uses``; empty groups are left out.

    Args:
        routers: name -> entry of the table.
    """
    groups = {uses: [name for name, kind in routers.items() if kind.uses is uses] for uses in Uses}
    return {uses: names for uses, names in groups.items() if names}


def describe_by_uses(routers: Mapping[str, UsesSomething], names: Iterable[str] | None = None) -> str:
    """List routers by what they use, as one text for help: ``experts only: arrow, spectr; generic text: …``.

    Args:
        routers: name -> entry of the table.
        names: those to list; None for all.
    """
    wanted = routers if names is None else {name: routers[name] for name in names}
    return "; ".join(f"{uses}: {', '.join(group)}" for uses, group in group_by_uses(wanted).items())
