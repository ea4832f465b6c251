"""Uniform routing has no options."""

from collections.abc import Sequence
from dataclasses import dataclass

from lorary.routing.configs.contract import Needs


@dataclass(frozen=True, kw_only=True)
class UniformConfig:
    """Uniform routing, which has no options."""

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from."""
        return {}

    def check(self, names: Sequence[str]) -> None:
        """Accept any experts."""
