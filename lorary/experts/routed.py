"""The experts that are used if none are named."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from lorary.experts.expert import Expert


@runtime_checkable
class HasRoles(Protocol):
    """A mapping that knows which of its experts are used if none are named, such as a ``Library``."""

    def routed(self, include: str | Iterable[str] = ()) -> Mapping[str, Expert]:
        """Return these experts."""
        ...


def list_routed(experts: Mapping[str, Expert]) -> list[str]:
    """List the experts that are used if none are named: for a library those that routers choose among.

    For any other mapping these are all experts, since its user has chosen them.
    """
    return list(experts.routed() if isinstance(experts, HasRoles) else experts)
