"""The contract of a router's options."""

from collections.abc import Mapping, Sequence
from dataclasses import Field
from typing import Any, ClassVar, Protocol

Needs = Mapping[str, Mapping[str, Any]]
"""Fact that a router is built from -> the options on which it depends; most facts depend on none. The table
of facts is ``lorary.facts.FACTS``."""


class RouterConfig(Protocol):
    """A router's options: a frozen dataclass, whose fields are the options."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def needs(self) -> Needs:
        """The facts that the router is built from, with these options."""
        ...

    def check(self, names: Sequence[str]) -> None:
        """Check that the options suit the experts of these names; ``ValueError`` if not."""
        ...
